"""Scores of prompts: those that were taken over are those that the model gives."""

import asyncio
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from kogpt_bot.errors import GenerationError
from kogpt_bot.generation.engine import Engine
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.request import GenerationRequest, SamplingParams
from kogpt_bot.generation.scores import Scores
from kogpt_bot.generation.scoring import score

SMALL_CACHE = 400  # tokens: less than the prompts of the random requests together


@pytest.fixture(scope="module")
def loaded(checkpoints):
    return load(LoadOptions(model=str(checkpoints["small"]), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def oracle(checkpoints):
    model = AutoModelForCausalLM.from_pretrained(checkpoints["small"], dtype=torch.float32).eval()

    @torch.inference_mode()
    def logs(ids):
        return model(torch.tensor([ids])).logits[0].log_softmax(-1)

    return logs


@pytest.fixture
async def engine(loaded):
    engine = Engine(loaded, max_sequences=4, step_tokens=32, cache_tokens=1024)
    await engine.start()
    yield engine
    await engine.close()


def words(length, seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(5, 600, (length,), generator=generator).tolist())


def asking(ids, alternatives=1, **fields):
    fields = {"params": SamplingParams(temperature=0), "max_tokens": 1, "echo": True} | fields
    return GenerationRequest("r", tuple(ids), logprobs=alternatives, ignore_eos=True, **fields)


async def answer(engine, asked):
    """Return the scores and the ids of an answer."""
    chunks = [chunk async for chunk in engine.generate(asked)]
    scores = [each for chunk in chunks for each in chunk.logprobs]
    return scores, [each for chunk in chunks for each in chunk.token_ids]


def check(asked, scores, ids, oracle):
    """Compare every score with what the model gives, and every greedy token."""
    logs = oracle(ids)
    length = len(asked.prompt_ids)
    assert ids[length:] == logs[length - 1 : -1].argmax(-1).tolist()
    assert [each.token_id for each in scores] == ids
    assert scores[0].logprob is None
    assert scores[0].top == ()
    for before, each in zip(logs, scores[1:], strict=False):
        best = before.topk(asked.logprobs).values.tolist()
        assert each.logprob == pytest.approx(float(before[each.token_id]), abs=1e-4)
        assert [value for _, value in each.top] == pytest.approx(best, abs=1e-4)


async def test_the_shots_are_scored_once(engine, oracle):
    shots = words(100, 1)
    for number in range(4):
        asked = asking((*shots, *words(9, 10 + number)))
        check(asked, *await answer(engine, asked), oracle)
    stats = engine.stats()
    assert stats.prefilled == 109 + 3 * (9 + 1)
    assert stats.reused == 3 * 99
    assert stats.score_bytes == (109 + 3 * 13) * 3 * 4  # what lies behind the 6 shared blocks


async def test_the_classes_of_an_item_share_it_to_the_token(engine, oracle):
    item = words(40, 2)
    for label in range(5):
        asked = asking((*item, 100 + label, 200 + label))
        check(asked, *await answer(engine, asked), oracle)
    assert engine.stats().prefilled == 42 + 4 * 3


async def test_what_is_scored_at_this_moment_is_not_scored_twice(engine, oracle):
    shots = words(100, 3)
    asked = [asking((*shots, *words(5, 20 + number)), channel=str(number)) for number in range(4)]
    for each, found in zip(asked, await asyncio.gather(*(answer(engine, a) for a in asked)),
                           strict=True):  # fmt: skip
        check(each, *found, oracle)
    assert engine.stats().prefilled <= 105 + 3 * (105 - 95)


def running(loaded, waves):
    """Return how many requests run after one step for each wave, and the last wave's own."""
    engine = Engine(loaded, max_sequences=4, step_tokens=32, cache_tokens=1024)
    for asked in waves[:-1]:
        engine._scheduler.add(engine._job(asked))
        while engine._stepper.step():
            pass
    for asked in waves[-1]:
        engine._scheduler.add(engine._job(asked))
    engine._stepper.step()
    return engine.stats().running


def test_who_waits_for_what_another_reads(loaded):
    begun, plain = words(96, 8), {"echo": False}
    long = [(*begun, first, *words(90, 9)) for first in (7, 8)]
    scored = [asking(ids, channel=str(n)) for n, ids in enumerate(long)]
    told = [asking(ids, None, channel=str(n), **plain) for n, ids in enumerate(long)]
    more = asking(long[1], 3, channel="1")
    assert running(loaded, [scored]) == 1
    assert running(loaded, [told]) == 1
    assert running(loaded, [[scored[0], told[1]]]) == 1
    assert running(loaded, [[told[0], scored[1]]]) == 2  # it will have no scores
    assert running(loaded, [[scored[0], more]]) == 2  # nor those it wants
    assert running(loaded, [asking(begun), scored]) == 2  # what they share is there


async def test_a_conversation_goes_on_from_a_scored_prompt_and_is_scored_after_it(engine, oracle):
    history = words(50, 4)
    await answer(engine, asking(history))
    plain = asking(history, None, echo=False, max_tokens=20)
    _, ids = await answer(engine, plain)
    assert engine.stats().reused == 49
    asked = asking((*history, *ids), 3)
    check(asked, *await answer(engine, asked), oracle)
    assert engine.stats().reused == 49  # nothing of it has three alternatives
    await answer(engine, asked)
    assert engine.stats().reused == 49 + 69


async def test_tenants_do_not_share_scores(engine, oracle):
    for salt in ("one", "two"):
        asked = asking(words(40, 5), cache_salt=salt)
        check(asked, *await answer(engine, asked), oracle)
    assert engine.stats().reused == 0


async def test_offsets_are_those_of_the_tokens_texts(engine):
    for _ in range(2):  # computed, and taken over
        scores, _ = await answer(engine, asking(engine.encode("안녕, 반가워요"), max_tokens=0))
        at = 0
        for each in scores:
            assert each.offset == at
            at += len(each.token)


async def test_scores_that_are_not_finite_fail_the_request_and_are_not_kept(engine, monkeypatch):
    forward = engine._model.forward
    monkeypatch.setattr(
        engine._model, "forward", lambda *given: forward(*given) * float("nan")
    )  # fmt: skip
    with pytest.raises(GenerationError, match="NaN"):
        await answer(engine, asking(words(40, 6), max_tokens=0))
    assert engine.stats().score_bytes == 0
    assert engine.stats().blocks_used == 0


async def test_a_step_that_is_done_again_scores_nothing_twice(engine, oracle, monkeypatch):
    """Memory runs out when the tokens are chosen: what is in the cache by then is computed again."""
    failures = [torch.OutOfMemoryError()]
    choose = engine._stepper._choose

    def short(rows, logits):
        if rows and failures:
            raise failures.pop()
        choose(rows, logits)

    monkeypatch.setattr(engine._stepper, "_choose", short)
    asked = asking(words(40, 7))
    check(asked, *await answer(engine, asked), oracle)
    assert not failures


@dataclass(frozen=True)
class Asked:
    """A request whose text is the beginning of a common one and an end of its own."""

    shared: int
    own: int
    seed: int
    alternatives: int | None
    generates: int
    salt: str

    def request(self):
        ids = (*words(120, 0)[: self.shared], *words(self.own, self.seed))
        scored = self.alternatives is not None
        return asking(
            ids, self.alternatives, echo=scored, channel=str(self.seed), cache_salt=self.salt,
            max_tokens=self.generates if scored else max(self.generates, 1),
        )  # fmt: skip


requests = st.builds(
    Asked,
    shared=st.integers(0, 120) | st.sampled_from([16, 32, 48, 96]),
    own=st.integers(1, 40),
    seed=st.integers(1, 4),
    alternatives=st.sampled_from([None, 0, 1, 1, 3]),
    generates=st.integers(0, 20),
    salt=st.sampled_from(["", "", "", "other"]),
)


@given(waves=st.lists(st.lists(requests, min_size=1, max_size=4), min_size=2, max_size=6),
       host=st.sampled_from([0, 400]))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_scores_are_the_models_through_reuse_evictions_and_the_host(loaded, oracle, waves, host):
    async def serve():
        engine = Engine(
            loaded, max_sequences=3, step_tokens=24, cache_tokens=SMALL_CACHE,
            host_cache_tokens=host,
        )  # fmt: skip
        await engine.start()
        try:
            for wave in waves:
                asked = [each.request() for each in wave]
                found = await asyncio.gather(*(answer(engine, each) for each in asked))
                for each, (scores, ids) in zip(asked, found, strict=True):
                    if each.echo:
                        check(each, scores, ids, oracle)
        finally:
            await engine.close()

    asyncio.run(serve())


@given(
    st.lists(st.floats(-50, 0, width=32), min_size=1, max_size=40), st.integers(0, 4), st.data()
)  # fmt: skip
def test_parts_of_scores_keep_their_numbers(logprobs, width, data):
    count = len(logprobs)
    ids = list(range(count * width))
    whole = Scores(width, logprobs, ids, [-each / 2 for each in ids])
    begin = data.draw(st.integers(0, count))
    end = data.draw(st.integers(begin, count))
    kept = data.draw(st.integers(0, width))
    part = Scores(kept)
    part.extend(whole, begin, end)
    assert list(part.logprobs) == logprobs[begin:end]
    for at in range(begin, end):
        assert part.top(at - begin) == whole.top(at)[:kept]
    assert part.size == (end - begin) * (4 + 8 * kept)


@pytest.mark.parametrize("alternatives", [0, 1, 5])
def test_rows_are_scored_as_each_alone(alternatives):
    logits = torch.randn(7, 50, generator=torch.Generator().manual_seed(0))
    together = score(logits, list(range(7)), alternatives)
    for row in range(7):
        alone = score(logits[row : row + 1], [row], alternatives)
        assert (together.logprobs[row], together.top(row)) == (alone.logprobs[0], alone.top(0))
        assert together.logprobs[row] == pytest.approx(float(logits[row].log_softmax(-1)[row]))
