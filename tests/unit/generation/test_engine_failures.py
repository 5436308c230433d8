"""The engine where something goes wrong: short memory, failed steps and devices, a full queue."""

import asyncio
import time

import pytest
import torch

from kogpt_bot.errors import (
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationOutOfMemory,
    GenerationUnavailable,
)
from kogpt_bot.generation import stepper
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.kv_store import KVStore
from kogpt_bot.generation.options import DEVICE_FAILED
from tests.fakes.asked import chunks, request, tokens, wanted
from tests.fakes.stepped import prompt


async def test_a_full_queue_says_busy(small):
    engine = Engine(small, max_sequences=1, cache_tokens=300)
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


async def test_nobody_waits_for_an_engine_that_was_closed(small):
    engine = Engine(small, cache_tokens=1024)
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
async def test_nobody_waits_for_an_engine_whose_thread_has_ended(small, monkeypatch):
    engine = Engine(small, cache_tokens=1024)

    def end():
        raise KeyboardInterrupt  # what the thread does not survive

    monkeypatch.setattr(engine._stepper, "step", end)
    await engine.start()
    await asyncio.to_thread(engine._thread.join)
    assert not engine.stats().alive
    with pytest.raises(GenerationUnavailable, match="closed"):
        await asked_after(engine)
    await engine.close()


async def test_who_finds_the_queue_full_is_told_when_it_will_have_moved_on(small, monkeypatch):
    """By how many began lately, and how many wait: both change."""
    engine = Engine(small, max_sequences=1, cache_tokens=300)  # its thread is not started
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


async def test_a_failed_device_ends_the_process_with_a_status_of_its_own(small, monkeypatch, capfd):
    ended = []
    engine = Engine(small, cache_tokens=1024, die=ended.append)
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
