"""The engine end to end on a random model: exact, streaming, cancellable, and hard to break."""

import asyncio
import collections
import dataclasses
import gc

import pytest
import torch

from kogpt_bot.errors import (
    GenerationRejected,
)
from kogpt_bot.generation.engine import Engine, cpu_step_tokens
from kogpt_bot.generation.request import FinishReason, SamplingParams
from tests.fakes.asked import chunks, request, tokens, wanted
from tests.fakes.stepped import prompt


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


async def test_the_end_token_stops_and_shows_no_text(small, engine):
    ids = prompt(10)
    first = (await tokens(engine, request(ids, max_tokens=4, ignore_eos=True)))[3]
    info = dataclasses.replace(small.info, eos_token_id=first)
    ended = Engine(dataclasses.replace(small, info=info), cache_tokens=1024)
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
async def test_greedy_tokens_stay_exact_through_reuse_evictions_and_the_host(small, oracle, host):
    """Conversations that grow, share their beginning, and do not fit in the cache together."""
    engine = Engine(
        small, max_sequences=3, step_tokens=24, cache_tokens=400, host_cache_tokens=host
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


async def test_nothing_piles_up_over_thousands_of_requests(small):
    engine = Engine(small, max_sequences=8, step_tokens=64, cache_tokens=1024)
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


def test_the_tokens_of_a_step_are_by_the_size_of_the_model(small):
    info = dataclasses.replace(small.info, parameters=10**12)
    engine = Engine(dataclasses.replace(small, info=info), cache_tokens=1024)
    assert engine._scheduler.step_tokens == 16
    assert Engine(small, cache_tokens=1024)._scheduler.step_tokens == 256


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
