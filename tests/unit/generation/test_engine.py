"""The engine end to end on a random model: exact, streaming, cancellable, and hard to break."""

import asyncio
import collections
import dataclasses
import gc
import time

import pytest
import torch
from transformers import AutoModelForCausalLM

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationOutOfMemory,
    GenerationRejected,
    GenerationUnavailable,
)
from kogpt_bot.generation import stepper
from kogpt_bot.generation.engine import Engine, cpu_step_tokens
from kogpt_bot.generation.kv_store import KVStore
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.options import DEVICE_FAILED
from kogpt_bot.generation.request import FinishReason, GenerationRequest, SamplingParams

GREEDY = SamplingParams(temperature=0)


@pytest.fixture(scope="module")
def loaded(checkpoints):
    return load(LoadOptions(model=str(checkpoints["small"]), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def oracle(checkpoints):
    return AutoModelForCausalLM.from_pretrained(checkpoints["small"], dtype=torch.float32).eval()


@pytest.fixture
async def engine(loaded):
    engine = Engine(loaded, max_sequences=4, step_tokens=32, cache_tokens=1024)
    await engine.start()
    yield engine
    await engine.close()


def prompt(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(5, 600, (length,), generator=generator).tolist())


def request(ids, **fields):
    return GenerationRequest("r", ids, **({"params": GREEDY, "max_tokens": 12} | fields))


async def chunks(engine, asked):
    return [chunk async for chunk in engine.generate(asked)]


async def tokens(engine, asked):
    return [each for chunk in await chunks(engine, asked) for each in chunk.token_ids]


def wanted(oracle, ids, count):
    made = oracle.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=3,
    )
    return made[0, len(ids) :].tolist()


async def test_a_history_that_grows_is_computed_once(engine, oracle):
    ids = prompt(60)
    first = await tokens(engine, request(ids, ignore_eos=True))
    before = engine.stats()
    grown = (*ids, *first, *prompt(9, 5))
    assert await tokens(engine, request(grown, ignore_eos=True)) == wanted(oracle, grown, 12)
    after = engine.stats()
    assert after.reused - before.reused == 60 + 11
    assert after.prefilled - before.prefilled == len(grown) - 71


async def test_a_seed_gives_the_same_text_alone_and_in_company(engine):
    asked = request(prompt(20), params=SamplingParams(seed=11, top_p=0.9), ignore_eos=True)
    alone = await tokens(engine, asked)
    others = [
        tokens(engine, request(prompt(n * 9 + 1, n), params=SamplingParams(seed=n)))
        for n in range(6)
    ]
    together = await asyncio.gather(tokens(engine, asked), *others)
    assert together[0] == alone
    other = request(prompt(20), params=SamplingParams(seed=12, top_p=0.9), ignore_eos=True)
    assert await tokens(engine, other) != alone


async def test_the_last_chunk_says_how_it_ended(engine):
    found = await chunks(engine, request(prompt(9), max_tokens=3, ignore_eos=True))
    assert [chunk.finish_reason for chunk in found[:-1]] == [None] * (len(found) - 1)
    last = found[-1]
    assert (last.finish_reason, last.prompt_tokens, last.completion_tokens) == (
        FinishReason.LENGTH,
        9,
        3,
    )
    again = request(prompt(9), params=SamplingParams(), max_tokens=3)
    assert (await chunks(engine, again))[-1].seed is not None


async def test_the_end_token_stops_and_shows_no_text(loaded, engine):
    ids = prompt(10)
    first = (await tokens(engine, request(ids, max_tokens=4, ignore_eos=True)))[3]
    info = dataclasses.replace(loaded.info, eos_token_id=first)
    ended = Engine(dataclasses.replace(loaded, info=info), cache_tokens=1024)
    await ended.start()
    found = await chunks(ended, request(ids, max_tokens=50))
    await ended.close()
    assert found[-1].finish_reason is FinishReason.STOP
    assert found[-1].completion_tokens <= 4


async def test_a_stop_string_ends_the_text_before_it(engine):
    text = "".join([c.text for c in await chunks(engine, request(prompt(5), max_tokens=60))])
    stop = text[8:11]
    found = await chunks(engine, request(prompt(5), max_tokens=60, stop=(stop,)))
    assert "".join(c.text for c in found) == text[: text.index(stop)]
    assert found[-1].finish_reason is FinishReason.STOP


async def test_generation_ends_at_the_models_context(engine):
    found = await chunks(engine, request(prompt(250), max_tokens=999, ignore_eos=True))
    assert found[-1].completion_tokens == 6
    assert found[-1].finish_reason is FinishReason.LENGTH


async def test_log_probabilities_are_the_models_own(engine, oracle):
    ids = prompt(12)
    asked = request(ids, max_tokens=2, logprobs=3, echo=True, ignore_eos=True)
    scores = [score for chunk in await chunks(engine, asked) for score in chunk.logprobs]
    generated = [score.token_id for score in scores[12:]]
    with torch.no_grad():
        logs = oracle(torch.tensor([[*ids, *generated]])).logits[0].log_softmax(-1)
    assert scores[0].logprob is None
    for position, score in enumerate(scores[1:]):
        assert score.logprob == pytest.approx(float(logs[position, score.token_id]), abs=1e-3)
        best = logs[position].topk(3).values.tolist()
        assert [value for _, value in score.top] == pytest.approx(best, abs=1e-3)


async def test_a_prompt_can_be_scored_without_generating(engine):
    found = await chunks(engine, request(prompt(5), max_tokens=0, logprobs=0, echo=True))
    assert sum(len(chunk.logprobs) for chunk in found) == 5
    assert found[-1].completion_tokens == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [((), "allowed: 1 to 256"), (prompt(257), "257 tokens"), ((5, 600), "600; allowed: 0 to 599")],
)
async def test_what_the_model_cannot_serve_is_refused(engine, ids, message):
    with pytest.raises(GenerationRejected, match=message):
        await chunks(engine, request(ids))


async def test_a_cancelled_request_frees_its_cache(engine):
    stream = engine.generate(request(prompt(30), max_tokens=200, ignore_eos=True))
    await anext(stream)
    assert engine.stats().running == 1
    await stream.aclose()
    async with asyncio.timeout(5):
        while engine.stats().running:
            await asyncio.sleep(0.005)
    assert engine.stats().blocks_used == 0


async def test_waiting_requests_can_be_cancelled_too(engine):
    streams = [
        asyncio.create_task(chunks(engine, request(prompt(100, n), max_tokens=100)))
        for n in range(12)
    ]
    await asyncio.sleep(0.05)
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    async with asyncio.timeout(5):
        while (now := engine.stats()).running or now.waiting:
            await asyncio.sleep(0.005)


async def test_a_full_queue_says_busy(loaded):
    engine = Engine(loaded, max_sequences=1, cache_tokens=300)
    engine._scheduler._max_waiting = 3
    await engine.start()
    results = await asyncio.gather(
        *(chunks(engine, request(prompt(50, n), channel=str(n))) for n in range(8)),
        return_exceptions=True,
    )
    await engine.close()
    assert any(isinstance(each, GenerationBusy) for each in results)
    assert any(isinstance(each, list) for each in results)


async def test_a_failing_step_fails_its_own_requests_only(engine, monkeypatch):
    forward = engine._model.forward
    failures = [RuntimeError("a fault in the kernel")]

    def broken(*arguments):
        if failures:
            raise failures.pop()
        return forward(*arguments)

    monkeypatch.setattr(engine._model, "forward", broken)
    with pytest.raises(GenerationError, match="a fault in the kernel"):
        await chunks(engine, request(prompt(5)))
    assert len(await tokens(engine, request(prompt(5), ignore_eos=True))) == 12


async def test_a_row_of_nan_fails_alone(engine, monkeypatch):
    forward = engine._model.forward

    def poisoned(store, ids, positions, slots, segments):
        logits = forward(store, ids, positions, slots, segments).clone()
        at = 0
        for segment in segments:
            if len(segment.table) == 3:  # the request of 30 + 3 tokens
                logits[at : at + segment.want] = float("nan")
            at += segment.want
        return logits

    monkeypatch.setattr(engine._model, "forward", poisoned)
    sick = chunks(engine, request(prompt(30), max_tokens=3))
    well = tokens(engine, request(prompt(8), ignore_eos=True))
    results = await asyncio.gather(sick, well, return_exceptions=True)
    assert isinstance(results[0], GenerationError)
    assert "NaN" in str(results[0])
    assert len(results[1]) == 12
    assert engine.stats().failed == 1


def out_of_memory(monkeypatch, engine, times, error=torch.OutOfMemoryError, least=1):
    """Let steps of `least` requests find no memory so many times; return the sizes of all steps."""
    forward, sizes, failed = engine._model.forward, [], []

    def short(store, ids, positions, slots, segments):
        sizes.append(len(segments))
        if len(failed) < times and len(segments) >= least:
            failed.append(len(sizes))
            raise error("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return forward(store, ids, positions, slots, segments)

    monkeypatch.setattr(engine._model, "forward", short)
    return sizes


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
async def test_out_of_memory_is_tried_again_at_half_the_batch(engine, oracle, monkeypatch, error):
    await tokens(engine, request(prompt(60, 9)))
    assert engine.stats().blocks_idle
    sizes = out_of_memory(monkeypatch, engine, 1, error, least=4)
    prompts = [prompt(6, n) for n in range(4)]
    found = await asyncio.gather(
        *(tokens(engine, request(p, ignore_eos=True, channel=str(p))) for p in prompts)
    )
    assert found == [wanted(oracle, p, 12) for p in prompts]
    at = sizes.index(4)
    assert sizes[at : at + 3] == [4, 2, 2]


async def test_out_of_memory_again_is_a_typed_error_and_the_next_request_is_answered(
    engine, monkeypatch
):
    out_of_memory(monkeypatch, engine, 2)
    with pytest.raises(GenerationOutOfMemory):
        await chunks(engine, request(prompt(5)))
    assert len(await tokens(engine, request(prompt(5), ignore_eos=True))) == 12
    assert engine.stats().blocks_used == 0


@pytest.mark.parametrize("shrinks", [True, False])
async def test_short_memory_costs_the_cache_only_where_that_frees_some(
    engine, monkeypatch, shrinks
):
    """A GPU's store is one allocation: without its idle blocks it is as large."""
    monkeypatch.setattr(KVStore, "shrinks", shrinks, raising=False)
    await tokens(engine, request(prompt(60, 9)))
    before = engine.stats()
    out_of_memory(monkeypatch, engine, 1)
    assert len(await tokens(engine, request(prompt(60, 9), ignore_eos=True))) == 12
    assert engine.stats().reused - before.reused == 59  # of what it holds itself
    assert engine.stats().cache_tokens >= before.cache_tokens
    await tokens(engine, request(prompt(9, 1)))
    out_of_memory(monkeypatch, engine, 1)
    await tokens(engine, request(prompt(9, 1)))
    reused = engine.stats().reused
    await tokens(engine, request(prompt(60, 9)))
    assert engine.stats().reused - reused == (0 if shrinks else 59)


@pytest.mark.parametrize(
    ("said", "is_it"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`", False),
    ],
)
def test_short_memory_is_known_by_what_is_said(said, is_it):
    assert stepper.is_out_of_memory(RuntimeError(said)) == is_it


async def asked_after(engine):
    async with asyncio.timeout(5):
        return await tokens(engine, request(prompt(5)))


async def test_nobody_waits_for_an_engine_that_was_closed(loaded):
    engine = Engine(loaded, cache_tokens=1024)
    await engine.start()
    assert engine.stats().alive
    running = asyncio.create_task(tokens(engine, request(prompt(5), max_tokens=250)))
    while not engine.stats().running:
        await asyncio.sleep(0)
    await engine.close()
    for each in (running, asked_after(engine)):
        with pytest.raises(GenerationUnavailable, match="closed"):
            await each
    assert (engine.stats().waiting, engine.stats().alive) == (0, False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_an_engine_whose_thread_has_ended(loaded, monkeypatch):
    engine = Engine(loaded, cache_tokens=1024)

    def end():
        raise KeyboardInterrupt  # what the thread does not survive

    monkeypatch.setattr(engine._stepper, "step", end)
    await engine.start()
    await asyncio.to_thread(engine._thread.join)
    assert not engine.stats().alive
    with pytest.raises(GenerationUnavailable, match="closed"):
        await asked_after(engine)
    await engine.close()


async def test_who_finds_the_queue_full_is_told_when_it_will_have_moved_on(loaded, monkeypatch):
    """By how many began lately, and how many wait: both change."""
    engine = Engine(loaded, max_sequences=1, cache_tokens=300)  # its thread is not started
    engine._scheduler._max_waiting = 8
    counters, now = engine._stepper.counters, [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for n in range(8):
        engine._scheduler.add(engine._job(request(prompt(5, n))))

    async def told():
        with pytest.raises(GenerationBusy) as busy:
            await chunks(engine, request(prompt(5)))
        return busy.value.seconds

    assert await told() == 1.0  # nothing is known yet
    counters.begin_rate.add(1000.0, 20)  # 2 a second, for 8 that wait
    assert await told() == 4.0
    now[0] += 5
    counters.begin_rate.add(1005.0, 20)
    assert await told() == 2.0
    now[0] += 6  # the first 20 are no longer lately
    assert await told() == 4.0
    counters.begin_rate.add(1011.0, 980)
    assert await told() == 1.0  # never less
    now[0] += 20
    assert await told() == 1.0
    engine._scheduler.running.append(engine._job(request(prompt(5))))
    assert await told() == 30.0  # what runs has let nobody begin lately


async def test_a_request_that_begins_is_counted(engine):
    await asyncio.gather(*(tokens(engine, request(prompt(5, n))) for n in range(3)))
    assert engine._stepper.counters.begin_rate.per_second(time.monotonic()) == 0.3


async def test_a_failed_device_ends_the_process_with_a_status_of_its_own(
    loaded, monkeypatch, capfd
):
    ended = []
    engine = Engine(loaded, cache_tokens=1024, die=ended.append)
    await engine.start()
    out_of_memory(monkeypatch, engine, 1, torch.AcceleratorError)
    with pytest.raises(GenerationError, match="closed"):
        await chunks(engine, request(prompt(5)))
    assert ended == [DEVICE_FAILED]
    assert "error: the device failed" in capfd.readouterr().err
    await engine.close()


async def test_an_answer_that_is_late_is_given_up(engine):
    slow = request(prompt(30), max_tokens=200, ignore_eos=True, deadline_s=0.001)
    with pytest.raises(GenerationExpired):
        await chunks(engine, slow)
    assert (engine.stats().expired, engine.stats().blocks_used) == (1, 0)


async def test_requests_that_begin_alike_read_it_once(engine, oracle):
    persona = prompt(70, 1)
    prompts = [(*persona, *prompt(9, 100 + n)) for n in range(4)]
    found = await asyncio.gather(
        *(
            tokens(engine, request(p, ignore_eos=True, channel=str(n)))
            for n, p in enumerate(prompts)
        )
    )
    assert found == [wanted(oracle, p, 12) for p in prompts]
    # Whole blocks of it are shared while the first still runs, every token once it has ended.
    assert 79 + 3 * 9 <= engine.stats().prefilled <= 79 + 3 * (79 - 64)


async def test_tenants_do_not_share(engine, oracle):
    ids = prompt(60)
    for salt in ("one", "two", "two"):
        assert await tokens(engine, request(ids, cache_salt=salt, ignore_eos=True)) == wanted(
            oracle, ids, 12
        )
    assert engine.stats().reused == 59


@pytest.mark.parametrize("host", [0, 400])
async def test_greedy_tokens_stay_exact_through_reuse_evictions_and_the_host(loaded, oracle, host):
    """Conversations that grow, share their beginning, and do not fit in the cache together."""
    engine = Engine(
        loaded, max_sequences=3, step_tokens=24, cache_tokens=400, host_cache_tokens=host
    )
    await engine.start()
    persona = prompt(20, 77)
    histories = [(*persona, *prompt(10, n)) for n in range(6)]
    for turn in range(5):
        made = await asyncio.gather(
            *(
                tokens(engine, request(h, max_tokens=6, ignore_eos=True, channel=str(n)))
                for n, h in enumerate(histories)
            )
        )
        assert made == [wanted(oracle, h, 6) for h in histories]
        histories = [
            (*h, *m, *prompt(7, 50 * turn + n))
            for n, (h, m) in enumerate(zip(histories, made, strict=True))
        ]
    stats = engine.stats()
    await engine.close()
    assert stats.evictions
    assert stats.reused
    assert bool(stats.moved_in) == bool(host)


async def test_nothing_piles_up_over_thousands_of_requests(loaded):
    engine = Engine(loaded, max_sequences=8, step_tokens=64, cache_tokens=1024)
    await engine.start()

    async def ask(first, count):
        for number in range(first, first + count):
            ids = prompt(3 + number % 20, number % 300)
            await chunks(engine, request(ids, max_tokens=1, channel=str(number)))

    async def measure(begin):
        await asyncio.gather(*(ask(begin + 10_000 * n, 60) for n in range(8)))
        gc.collect()
        cache = engine._stepper.cache
        kinds = collections.Counter(type(each).__name__ for each in gc.get_objects())
        return {k: kinds[k] for k in ("Job", "Node", "Lease", "SamplingState", "Tensor")} | {
            "leaves": len(cache._leaves) > 4 * cache.blocks + 64
        }

    await measure(0)
    before = await measure(1000)
    for more in range(2, 5):
        after = await measure(1000 * more)
    await engine.close()
    assert after["Job"] <= 8
    assert after["Node"] <= 70
    assert after["Tensor"] <= before["Tensor"] + 20
    assert not after["leaves"]


async def test_text_of_people_cannot_hold_special_tokens(engine):
    assert 1 not in engine.encode("[EOS] 안녕 [BOS]")
    assert engine.decode(engine.encode("[EOS] 안녕")) == "[EOS] 안녕"


@pytest.mark.parametrize(
    ("parameters", "threads", "tokens"),
    [
        (12_000_000, 1, 256),
        (370_000_000, 1, 256),
        (6_166_502_400, 1, 16),
        (6_166_502_400, 2, 32),
        (6_166_502_400, 32, 256),
        (100_000_000_000, 2, 16),
    ],
)
def test_a_step_on_a_cpu_takes_a_few_seconds_at_most(parameters, threads, tokens):
    assert cpu_step_tokens(parameters, threads) == tokens


def test_the_tokens_of_a_step_are_by_the_size_of_the_model(loaded):
    info = dataclasses.replace(loaded.info, parameters=10**12)
    engine = Engine(dataclasses.replace(loaded, info=info), cache_tokens=1024)
    assert engine._scheduler.step_tokens == 16
    assert Engine(loaded, cache_tokens=1024)._scheduler.step_tokens == 256


async def test_progress_is_seen_while_a_long_step_runs(engine, monkeypatch):
    model, marks = engine._model, []
    layer = model._layer

    def watched(*arguments):
        marks.append(engine.stats().last_step)
        return layer(*arguments)

    monkeypatch.setattr(model, "_layer", watched)
    await tokens(engine, request(prompt(5), max_tokens=1))
    assert len(marks) == model.shape.layers
    assert marks == sorted(set(marks))
