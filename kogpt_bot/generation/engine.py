"""The engine: one thread that steps the model, and async streams of chunks out of it.

Each step: admit what fits, plan, run the model once over all of it, choose tokens, hand out text.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import psutil
import structlog
import torch
from tokenizers import Tokenizer
from torch import Tensor

from kogpt_bot.errors import GenerationError, GenerationRejected
from kogpt_bot.generation.checkpoint import Progress
from kogpt_bot.generation.job import EngineStats, Event, Job
from kogpt_bot.generation.kv_cache import KVCachePool
from kogpt_bot.generation.loading import Loaded, LoadOptions, ModelInfo, load
from kogpt_bot.generation.model import Segment, SlotCache
from kogpt_bot.generation.request import Chunk, FinishReason, GenerationRequest, TokenLogprob
from kogpt_bot.generation.sampling import SamplingState, sample
from kogpt_bot.generation.scheduler import Scheduler
from kogpt_bot.generation.scheduler import Sequence as Running
from kogpt_bot.generation.scoring import score
from kogpt_bot.generation.text import StopBuffer, TextStream

log = structlog.get_logger(__name__)

CACHE_SHARE = 0.5  # of the free memory, at most, for keys and values


class Engine:
    """Serves one model. `load` it, `start` it, then `generate` from tasks of one event loop."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        max_sequences: int = 16,
        step_tokens: int = 256,
        cache_tokens: int | None = None,
    ) -> None:
        self.info: ModelInfo = loaded.info
        self.tokenizer_json = loaded.tokenizer_json
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._plain = Tokenizer.from_str(loaded.tokenizer_json)
        self._plain.encode_special_tokens = True
        capacity = cache_tokens or self._cache_capacity(max_sequences)
        self._pool = KVCachePool(max(capacity, self.info.context_length))
        self._caches: dict[int, SlotCache] = {}
        self._scheduler = Scheduler(max_running=max_sequences, step_tokens=step_tokens)
        self._lock = threading.Lock()  # over scheduler and jobs' `cancelled`
        self._work = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps = self._prefilled = self._reused = self._generated = 0
        self._last_step = time.monotonic()

    @classmethod
    def load(
        cls,
        options: LoadOptions,
        *,
        max_sequences: int = 16,
        step_tokens: int = 256,
        progress: Progress | None = None,
    ) -> Engine:
        """Load a model and return an engine for it; ModelError when it cannot be loaded."""
        threads = options.threads or max(1, (psutil.cpu_count(logical=False) or 1) - 1)
        torch.set_num_threads(threads)
        return cls(load(options, progress), max_sequences=max_sequences, step_tokens=step_tokens)

    def _cache_capacity(self, max_sequences: int) -> int:
        device = self._model.devices[-1]
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
        else:
            free = psutil.virtual_memory().available
        fitting = int(free * CACHE_SHARE) // self._model.cache_bytes_per_token
        return min(fitting, 4 * max_sequences * self.info.context_length)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is special."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def token(self, token_id: int) -> str:
        """Return the text of one token, special ones included; U+FFFD for part of a character."""
        return str(self._tokenizer.decode([token_id], skip_special_tokens=False))

    async def start(self) -> None:
        """Start the thread that steps the model."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """End the thread; what runs is failed."""
        self._closing = True
        self._work.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 30)

    def stats(self) -> EngineStats:
        """Return what the engine does."""
        with self._lock:
            return EngineStats(
                running=len(self._scheduler.running),
                waiting=self._scheduler.waiting,
                cache_tokens=self._pool.active_tokens + self._pool.idle_tokens,
                cache_capacity=self._pool.capacity,
                steps=self._steps,
                prefilled=self._prefilled,
                reused=self._reused,
                generated=self._generated,
                last_step=self._last_step,
            )

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the continuation of a prompt; the last chunk has the finish reason.

        Closing the generator, or cancelling its task, cancels the request. Raises
        GenerationRejected for a request that this model cannot serve, GenerationBusy when too
        many wait, GenerationError when its computation fails.
        """
        job = self._job(request)
        with self._lock:
            self._scheduler.add(job)
        self._work.set()
        try:
            while True:
                event = await job.events.get()
                if isinstance(event, GenerationError):
                    raise event
                yield event
                if event.finish_reason is not None:
                    return
        finally:
            with self._lock:
                job.cancelled = True
                if job not in self._scheduler.running:
                    self._scheduler.remove(job)
            self._work.set()

    def _job(self, request: GenerationRequest) -> Job:
        length, context = len(request.prompt_ids), self.info.context_length
        if not 1 <= length <= context:
            raise GenerationRejected(
                f"prompt has {length} tokens; allowed: 1 to {context}, the model's context"
            )
        if bad := [t for t in request.prompt_ids if not 0 <= t < self.info.vocab_size]:
            raise GenerationRejected(
                f"prompt has the token id {bad[0]}; allowed: 0 to {self.info.vocab_size - 1}"
            )
        seed = request.params.seed
        if seed is None:
            seed = random.SystemRandom().getrandbits(31)
        request = replace(
            request,
            max_tokens=min(request.max_tokens, context - length),
            params=replace(request.params, seed=seed),
        )
        return Job(
            request,
            sampling=SamplingState(request.params, self.info.vocab_size, request.prompt_ids),
            text=TextStream(self._tokenizer),
            stops=StopBuffer(request.stop, include=request.include_stop),
        )

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._work.clear()
            try:
                busy = self._step()
            except Exception:
                log.exception("engine_loop_failed")
                busy = False
            self._last_step = time.monotonic()
            if not busy:
                self._work.wait()
        with self._lock:
            for job in list(self._scheduler.running):
                self._finish(job, GenerationError("the engine was closed"))

    def _step(self) -> bool:
        """Run one step; returns whether there is more to do."""
        with self._lock:
            for job in [j for j in self._scheduler.running if j.cancelled]:
                self._end(job, keep=True)
            admitted = self._scheduler.admit(self._can_run)
            for job in admitted:
                self._begin(job)
            self._free_dropped()
            plan = self._scheduler.plan()
        if not plan:
            return bool(self._scheduler.waiting)
        try:
            self._advance(plan)
        except Exception as error:  # whatever it was, only these requests fail
            log.exception("step_failed", requests=len(plan))
            if isinstance(error, torch.OutOfMemoryError):
                self._pool.drop_idle()
            with self._lock:
                for job, _ in plan:
                    self._finish(job, GenerationError(f"the computation failed: {error}"))
        return True

    def _can_run(self, job: Running) -> bool:
        if job.cancelled:
            return True  # it is admitted and ended in the next step
        return self._pool.can_reserve(job.reserve)

    def _begin(self, job: Running) -> None:
        """Reserve room and take over what another sequence has computed of the same beginning."""
        prompt = job.request.prompt_ids
        found = None if job.scores_prompt else self._pool.donor(prompt)
        donor = self._caches.get(found[0].id) if found else None
        if found:
            self._pool.touch(found[0])
        slot = self._pool.reserve(job.request.channel, job.reserve)
        cache = self._model.new_cache(slot.capacity)
        if found and donor is not None:
            cache.copy_from(donor, found[1])
            job.computed = found[1]
            slot.tokens = list(prompt[: found[1]])
            self._reused += found[1]
        job.slot = slot
        self._caches[slot.id] = cache

    def _free_dropped(self) -> None:
        for slot_id in self._pool.dropped:
            self._caches.pop(slot_id, None)
        self._pool.dropped.clear()

    def _advance(self, plan: Sequence[tuple[Running, int]]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        segments: list[Segment] = []
        for job, count in plan:
            begin, end = job.computed, job.computed + count
            want = count if job.scores_prompt else int(end == len(job.tokens))
            segments.append(Segment(self._cache(job), len(tokens), count, begin, want))
            tokens += job.tokens[begin:end]
            positions += range(begin, end)
        logits = self._model.forward(torch.tensor(tokens), torch.tensor(positions), segments)
        self._steps += 1
        rows: list[tuple[Job, Tensor]] = []
        at = 0
        for (job, count), segment in zip(plan, segments, strict=True):
            own = logits[at : at + segment.want]
            at += segment.want
            if isinstance(job, Job):
                self._computed(job, count, own)
                if segment.want and job.computed == len(job.tokens):
                    rows.append((job, own[-1]))
        self._choose(rows)

    def _cache(self, job: Running) -> SlotCache:
        if job.slot is None:
            raise GenerationError("the sequence has no room in the cache")
        return self._caches[job.slot.id]

    def _computed(self, job: Job, count: int, logits: Tensor) -> None:
        """Take note of tokens that are in the cache now, and score the prompt where asked."""
        begin = job.computed
        job.computed += count
        if job.slot is not None:
            job.slot.tokens.extend(job.tokens[begin : job.computed])
        if begin < job.prompt_length:
            self._prefilled += count
        if not job.scores_prompt or begin >= job.prompt_length:
            return
        if begin == 0:
            # Nothing stands before the first token: it has no probability.
            text = self.token(job.tokens[0])
            job.prompt_logprobs.append(TokenLogprob(job.tokens[0], text, None))
            job.shown = len(text)
        for row in range(count):
            following = begin + row + 1
            if following < job.prompt_length:
                scored = self._score(job, logits[row], job.tokens[following])
                job.prompt_logprobs.append(scored)
                job.shown += len(scored.token)

    def _choose(self, rows: Sequence[tuple[Job, Tensor]]) -> None:
        sane: list[tuple[Job, Tensor]] = []
        for job, logits in rows:
            if job.generated == 0 and job.request.echo:
                self._echo(job)
            if job.request.max_tokens == 0:
                self._finish(job, FinishReason.LENGTH)
            elif not bool(torch.isfinite(logits).all()):
                self._finish(job, GenerationError("the model gave NaN or infinite logits"))
            else:
                sane.append((job, logits))
        if not sane:
            return
        stacked = torch.stack([logits for _, logits in sane])
        states = [job.sampling for job, _ in sane if job.sampling is not None]
        chosen = sample(stacked, states, [job.tokens for job, _ in sane])
        for (job, logits), token in zip(sane, chosen, strict=True):
            self._emit(job, token, logits)
        self._generated += len(sane)

    def _echo(self, job: Job) -> None:
        text = self.decode(job.request.prompt_ids)
        self._tell(job, Chunk(text, job.request.prompt_ids, tuple(job.prompt_logprobs)))
        job.shown = len(text)

    def _emit(self, job: Job, token: int, logits: Tensor) -> None:
        """Append the token to its sequence and hand out what became certain."""
        if job.text is None or job.stops is None or job.sampling is None:
            return
        job.tokens.append(token)
        job.sampling.add(token)
        ended = token == self.info.eos_token_id and not job.request.ignore_eos
        scores: tuple[TokenLogprob, ...] = ()
        if job.request.logprobs is not None:
            scores = (self._score(job, logits, token),)
        text = "" if ended else job.text.push(token)
        job.shown += len(text)
        certain = job.stops.push(text)
        reason = None
        if ended or job.stops.stopped:
            reason = FinishReason.STOP
        elif job.generated >= job.request.max_tokens:
            reason = FinishReason.LENGTH
        self._tell(job, Chunk(certain, (token,), scores))
        if reason is not None:
            self._finish(job, reason)

    def _finish(self, job: Running, how: FinishReason | GenerationError) -> None:
        """End a sequence and say so to its stream."""
        if isinstance(job, Job):
            if isinstance(how, GenerationError):
                self._tell(job, how)
            else:
                rest = ""
                if job.stops is not None and job.text is not None and not job.stops.stopped:
                    rest = job.stops.push(job.text.finish())
                    rest += job.stops.finish()
                if job.stops is not None and job.stops.stopped:
                    how = FinishReason.STOP
                self._tell(job, self._last(job, rest, how))
        self._end(job, keep=not isinstance(how, GenerationError))

    def _last(self, job: Job, text: str, reason: FinishReason) -> Chunk:
        return Chunk(
            text,
            finish_reason=reason,
            prompt_tokens=job.prompt_length,
            completion_tokens=job.generated,
            seed=job.request.params.seed,
        )

    def _end(self, job: Running, *, keep: bool) -> None:
        self._scheduler.remove(job)
        if job.slot is not None:
            self._pool.release(job.slot, keep=keep)
            job.slot = None

    def _tell(self, job: Job, event: Event) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(job.events.put_nowait, event)

    def _score(self, job: Job, logits: Tensor, token: int) -> TokenLogprob:
        return score(logits, token, job.request.logprobs or 0, self.token, job.shown)
