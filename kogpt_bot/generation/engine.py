"""The engine: one thread that steps the model, and async streams of chunks out of it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

import psutil
import structlog
import torch
from tokenizers import Tokenizer

from kogpt_bot.errors import (
    GenerationError,
    GenerationRejected,
    GenerationUnavailable,
    ModelError,
)
from kogpt_bot.generation import capacity, limits
from kogpt_bot.generation.checkpoint import Progress
from kogpt_bot.generation.event_stream import Event
from kogpt_bot.generation.figures import EngineStats
from kogpt_bot.generation.job import Job
from kogpt_bot.generation.kv_blocks import BLOCK
from kogpt_bot.generation.kv_cache import KVCache
from kogpt_bot.generation.loading import Loaded, LoadOptions, ModelInfo, load
from kogpt_bot.generation.options import DEVICE_FAILED
from kogpt_bot.generation.replies import Replies
from kogpt_bot.generation.request import Chunk, GenerationRequest
from kogpt_bot.generation.scheduler import BUSY_RETRY_S, Scheduler
from kogpt_bot.generation.stepper import Stepper, is_out_of_memory

log = structlog.get_logger(__name__)

SEQUENCES, GPU_SEQUENCES = 16, 64  # at once, unless it is said: rows that read the weights together
STEP_TOKENS = 256  # in a step (many writers add to it): with more, others wait longer for a token
LEAST_STEP_TOKENS = 16  # on a CPU: fewer hardly make a step shorter, since it reads all weights
STEP_PRODUCTS = 1e11  # in a step on a CPU, a thread: 2 to 4 s; no sign for 28 s counts as a hang
GPU_STEP_TOKENS = 512  # which take an H200 11 ms in KoGPT's shape, 256 take 7
BUSY_RETRY_CAP_S = 30.0
CLOSED = "the engine was closed"


class Engine:
    """Serves one model. `load` it, `start` it, then `generate` from tasks of one event loop.

    `die` ends the process when the device has failed for good: nothing but a new process helps.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        max_sequences: int | None = None,
        step_tokens: int | None = None,
        cache_tokens: int | None = None,
        host_cache_tokens: int | None = None,
        die: Callable[[int], object] = os._exit,
    ) -> None:
        self.info: ModelInfo = loaded.info
        self.tokenizer_json = loaded.tokenizer_json
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._plain = Tokenizer.from_str(loaded.tokenizer_json)
        self._plain.encode_special_tokens = True
        if max_sequences is None:
            max_sequences = GPU_SEQUENCES if self._model.asynchronous else SEQUENCES
        if cache_tokens is None:
            cache_tokens = capacity.device_tokens(self._model, max_sequences)
        if host_cache_tokens is None:
            host_cache_tokens = capacity.host_tokens(self._model, max_sequences)
        # One sequence of the model's whole context always fits.
        blocks = max(cache_tokens // BLOCK, capacity.least_blocks(self.info.context_length))
        cache = KVCache(blocks, host_cache_tokens // BLOCK)
        if step_tokens is None:
            on_cpu = cpu_step_tokens(self.info.parameters, torch.get_num_threads())
            step_tokens = GPU_STEP_TOKENS if self._model.asynchronous else on_cpu
        scheduler = Scheduler(max_running=max_sequences, step_tokens=step_tokens)
        self._replies = Replies(self._tokenizer, self.info.eos_token_id)
        self._stepper = Stepper(self._model, cache, scheduler, self._replies, self._tell)
        self._scheduler = scheduler
        self._work = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_step = time.monotonic()
        self._die = die

    @classmethod
    def load(
        cls,
        options: LoadOptions,
        *,
        max_sequences: int | None = None,
        step_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> Engine:
        """Load a model and return an engine for it; ModelError when it cannot be loaded."""
        torch.set_num_threads(options.threads or default_threads())
        try:
            loaded = load(options, progress)
            return cls(
                loaded,
                max_sequences=max_sequences,
                step_tokens=step_tokens,
                cache_tokens=capacity.wished_tokens(loaded.model, options.kv_cache_gib),
                host_cache_tokens=capacity.wished_host_tokens(loaded.model, options.host_cache_gib),
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(
                f"model {options.model!r}: memory ran out while it was loaded ({why}); a smaller "
                "kv_cache_gib or host_cache_gib, fewer bits, or more memory would help"
            ) from error

    @property
    def device(self) -> torch.device:
        """Where the last layer is computed."""
        return self._model.devices[-1]

    @property
    def weight_bytes(self) -> int:
        """How many bytes of weights one token reads."""
        return self._model.weight_bytes

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is special."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return self._replies.decode(ids)

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
        counters, cache, now = self._stepper.counters, self._stepper.cache, time.monotonic()
        with self._stepper.lock:
            return EngineStats(
                alive=not self._closing and self._thread is not None and self._thread.is_alive(),
                running=len(self._scheduler.running),
                waiting=self._scheduler.waiting,
                cache_tokens=(cache.blocks - cache.free) * BLOCK,
                cache_capacity=cache.blocks * BLOCK,
                steps=counters.steps,
                step_seconds=counters.step_seconds,
                prefilled=counters.prefilled,
                reused=counters.reused,
                generated=counters.generated,
                prefill_rate=counters.prefill_rate.per_second(now),
                decode_rate=counters.decode_rate.per_second(now),
                blocks=cache.blocks,
                blocks_used=cache.used,
                blocks_idle=cache.idle,
                blocks_shared=cache.shared,
                host_blocks=cache.host_blocks,
                host_blocks_used=cache.host_used,
                evictions=cache.counts.evictions,
                moved_out=cache.counts.moved_out,
                moved_in=cache.counts.moved_in,
                score_bytes=cache.score_bytes,
                failed=counters.failed,
                expired=counters.expired,
                memory=psutil.Process().memory_info().rss,
                device_memory=self._device_memory(),
                batch_size=counters.batch_size.snapshot(),
                queue_wait=counters.queue_wait.snapshot(),
                first_token=counters.first_token.snapshot(),
                token_gap=counters.token_gap.snapshot(),
                last_step=max(self._last_step, self._model.last_layer),
            )

    def _device_memory(self) -> int:
        devices = {each for each in self._model.devices if each.type == "cuda"}
        return sum(torch.cuda.memory_reserved(each) for each in devices)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the continuation of a prompt; the last chunk has the finish reason.

        Closing the generator, or cancelling its task, cancels the request. Raises
        GenerationRejected for a request that this model cannot serve, GenerationBusy when too
        many wait, GenerationExpired when its deadline passes, GenerationUnavailable when the
        engine was closed, GenerationError when its computation fails.
        """
        job = self._job(request)
        with self._stepper.lock:  # which the thread takes for its last look at who waits, too
            if self._closing:
                raise GenerationUnavailable(CLOSED)
            self._scheduler.add(job, self._retry_s())
        self._work.set()
        try:
            while True:
                chunk = await job.events.take()
                yield chunk
                if chunk.finish_reason is not None:
                    return
        finally:
            with self._stepper.lock:
                job.cancelled = True
                if job.lease is None:
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
        scores = request.logprobs
        request = replace(
            request,
            max_tokens=min(request.max_tokens, context - length),
            logprobs=None if scores is None else min(scores, self.info.vocab_size),
            params=replace(request.params, seed=seed),
        )
        return Job.make(request, time.monotonic(), self.info.vocab_size, self._tokenizer)

    def _retry_s(self) -> float:
        """Return when all that waits now should have begun, by how many began a second lately."""
        rate = self._stepper.counters.begin_rate.per_second(time.monotonic())
        if not rate:  # long answers leave no room, or the queue was filled at one blow
            return BUSY_RETRY_CAP_S if self._scheduler.running else BUSY_RETRY_S
        return min(max(BUSY_RETRY_S, self._scheduler.waiting / rate), BUSY_RETRY_CAP_S)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._step_on()
        finally:
            self._closing = True  # whatever ended it: nobody may wait for it from now on
            self._stepper.fail_all(GenerationUnavailable(CLOSED))

    def _step_on(self) -> None:
        while not self._closing:
            self._work.clear()
            try:
                busy = self._stepper.step()
            except torch.AcceleratorError as error:
                self._end_process(error)
                break
            except Exception:
                log.exception("engine_loop_failed")
                self._stepper.fail_all(GenerationError("the engine met an error of its own"))
                busy = False
            self._last_step = time.monotonic()
            if not busy:
                self._work.wait()

    def _end_process(self, error: Exception) -> None:
        """End with a status that the supervisor knows: no step can succeed on this device."""
        reason = str(error).splitlines()[0]
        log.critical("device_failed", why=reason)
        print(f"error: the device failed: {reason}", file=sys.stderr, flush=True)  # noqa: T201
        self._die(DEVICE_FAILED)

    def _tell(self, events: Sequence[tuple[Job, Event]]) -> None:
        """Hand events to their streams, on the loop that they run on."""

        def deliver() -> None:
            for job, event in events:
                job.events.put(event)

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(deliver)


def cpu_step_tokens(parameters: int, threads: int) -> int:
    """Return how many tokens a step on a CPU has, so that it takes a few seconds at most."""
    fitting = int(STEP_PRODUCTS * threads / parameters)
    return min(max(fitting, LEAST_STEP_TOKENS), STEP_TOKENS)


def default_threads() -> int:
    """Return the cores that this process may use, less one for the daemon where there are two."""
    return max(1, limits.cores() - 1)
