"""Answers on their way to delivery: what each policy lets people see, and what the log holds."""

import asyncio
from contextlib import aclosing
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.conversation.manager import (
    Ask,
    ConversationManager,
    HistoryLine,
    Piece,
    ReplyRequest,
    ServingModel,
)
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from kogpt_bot.conversation.settings import AnswerPolicy, ChannelSettings, Profanity, Sampling
from kogpt_bot.conversation.speakers import Line
from kogpt_bot.conversation.tokens import ModelTokens
from kogpt_bot.delivery.responder import Responder
from kogpt_bot.errors import GenerationInterrupted
from kogpt_bot.messages import ChannelKey
from kogpt_bot.moderation.answer import ScreenedAnswers
from kogpt_bot.moderation.detectors import Detectors
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.names import with_masks
from kogpt_bot.moderation.screen import HOLD_BACK
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store import Store
from kogpt_bot.store.profanity_values import Direction, HitFilter, Outcome
from tests.fakes.clock import FakeClock
from tests.fakes.tokenizer import make_tokenizer

ROOM = ChannelKey("fake", "room")
MODEL = ServingModel(
    "scripted", 512, ModelTokens(make_tokenizer().to_str().encode()), revision="r1"
)
FOUL = "오늘은 정말 씨발 너무 덥고 힘드네요"


class Script:
    """A model that says what it is told to, attempt by attempt."""

    def __init__(self, *texts: list) -> None:
        self.texts = list(texts)
        self.asks: list[Ask] = []

    async def generate(self, ask: Ask):
        self.asks.append(ask)
        for piece in self.texts.pop(0):
            if isinstance(piece, Exception):
                raise piece
            yield Piece(piece)
        yield Piece("", "stop")


class Room:
    """One channel with a scripted model and the real screen, log and database."""

    def __init__(self, store: Store, detectors: Detectors, script: Script, **kept: str) -> None:
        self.script, self.store = script, store
        seeds = iter(range(100, 200))
        log = ProfanityLog(store.profanity, Pseudonyms(b"k" * 32), FakeClock(), **kept)
        manager = ConversationManager(script.generate, lambda: next(seeds))
        self.answers = ScreenedAnswers(manager, detectors, log, lambda _: "[blocked]")

    def request(self, name: str = "민수", seed: int | None = None, **rules: object) -> ReplyRequest:
        chosen = ChannelSettings(profanity=Profanity(**rules), sampling=Sampling(seed=seed))
        line = HistoryLine(7, Line("u1", name, "오늘 어때?"))
        return ReplyRequest(ROOM, chosen, DEFAULT_PERSONA, [line], MODEL)

    async def shown(self, **request: object) -> list[str]:
        return [text async for text in self.answers.reply(self.request(**request))]

    async def hits(self):
        return await self.store.profanity.hits(HitFilter(newest_first=False))


@pytest.fixture
def room(store, detector):
    def make(*texts, **kept) -> Room:
        detectors = Detectors(store.profanity, FakeClock(), detector)
        return Room(store, detectors, Script(*texts), **kept)

    return make


async def test_log_shows_it_and_writes_it_down_with_all_that_makes_it_again(room):
    here = room(list(FOUL))
    assert "".join(await here.shown(policy=AnswerPolicy.LOG)) == FOUL
    (hit,) = await here.hits()
    ask = here.script.asks[0]
    found, text = hit.found, hit.text
    assert (found.canonical, found.category, found.severity) == ("씨발", "욕설", 3)
    assert text.text[found.span_start : found.span_end] == found.matched == "씨발"
    assert (text.direction, text.policy, text.outcome) == (
        Direction.ANSWER,
        "log",
        Outcome.SHOWN,
    )
    assert (text.prompt, text.generated) == (ask.prompt.text, FOUL)
    assert (text.model, text.revision, text.seed) == ("scripted", "r1", ask.seed)
    assert text.sampling["top_p"] == ask.sampling.top_p
    assert text.request["prompt_ids"] == list(ask.prompt.ids)
    assert (text.channel, text.message, text.complete) == (str(ROOM), "7", True)
    assert text.person == Pseudonyms(b"k" * 32).person("fake", "u1")


async def test_mask_shows_circles(room):
    here = room(list(FOUL))
    assert "".join(await here.shown(policy=AnswerPolicy.MASK)) == FOUL.replace("씨발", "○○")
    (hit,) = await here.hits()
    assert hit.text.outcome is Outcome.MASKED
    assert hit.text.text == FOUL


async def test_regenerate_tries_again_with_another_seed(room):
    here = room(["씨발 뭐래", " 그만하고 조용히 좀 해라 좀"], ["반가워요"])
    assert await here.shown(policy=AnswerPolicy.REGENERATE) == ["반가워요"]
    assert len({ask.seed for ask in here.script.asks}) == 2
    (hit,) = await here.hits()
    assert hit.text.outcome is Outcome.REGENERATED


async def test_a_fixed_seed_moves_on_when_an_answer_is_regenerated(room):
    here = room(["씨발 뭐래 정말"], ["개새끼야 저리 가"], ["반가워요"])
    await here.shown(policy=AnswerPolicy.REGENERATE, attempts=2, seed=5)
    assert [ask.seed for ask in here.script.asks] == [5, 7, 9]


async def test_after_the_last_attempt_the_persona_speaks(room):
    here = room(*[["씨발 뭐래 정말"]] * 3)
    (text,) = await here.shown(policy=AnswerPolicy.REGENERATE, attempts=2)
    assert text in DEFAULT_PERSONA.fallback_lines
    outcomes = [hit.text.outcome for hit in await here.hits()]
    assert outcomes == [Outcome.REGENERATED, Outcome.REGENERATED, Outcome.FALLBACK]


async def test_block_shows_the_notice_and_nothing_of_the_answer(room):
    here = room(["안녕하세요, 오늘은 참으로 ", "좋은 날이네요. ", "씨발"])
    assert await here.shown(policy=AnswerPolicy.BLOCK) == ["[blocked]"]
    (hit,) = await here.hits()
    assert hit.text.outcome is Outcome.BLOCKED


@pytest.mark.parametrize("policy", list(AnswerPolicy))
async def test_a_clean_answer_is_left_as_it_is(room, policy):
    clean = "이 버스의 시발점은 서울역이고, 영화는 아직 보지 못했다고 하네요."
    here = room(list(clean))
    assert "".join(await here.shown(policy=policy)) == clean
    assert await here.hits() == []


async def test_a_hit_is_logged_before_it_is_shown(room):
    here = room(list(FOUL))
    shown = ""
    async with aclosing(aiter(here.answers.reply(here.request(policy=AnswerPolicy.LOG)))) as pieces:
        async for text in pieces:
            shown += text
            assert len(await here.hits()) == ("씨" in shown)
    assert "씨" in shown


async def test_the_persona_s_own_line_passes_where_the_model_stays_silent(room):
    here = room([""], [""])
    (text,) = await here.shown(policy=AnswerPolicy.BLOCK)
    assert text in DEFAULT_PERSONA.fallback_lines


async def test_mild_words_count_where_the_threshold_says_so(room):
    here = room(["젠장 늦었네요"])
    assert await here.shown(policy=AnswerPolicy.MASK) == ["젠장 늦었네요"]
    assert await here.hits() == []
    here = room(["젠장 늦었네요"])
    assert await here.shown(policy=AnswerPolicy.MASK, threshold=1) == ["○○ 늦었네요"]
    assert [hit.found.severity for hit in await here.hits()] == [1]


async def test_words_of_the_owner_are_found_and_allowed_ones_are_not(room):
    here = room(["뽀로로 같은 씨발"])
    rules = {"policy": AnswerPolicy.MASK, "extra": ("뽀로로",), "allow": ("씨발",)}
    assert await here.shown(**rules) == ["○○ 같은 씨발"]
    assert [hit.found.rule for hit in await here.hits()] == ["extra:뽀로로"]


async def test_a_break_gives_what_was_held_back_once_something_was_shown(room):
    here = room([FOUL, GenerationInterrupted("gone")])
    shown = []

    async def show() -> None:
        async for text in here.answers.reply(here.request(policy=AnswerPolicy.MASK)):
            shown.append(text)

    with pytest.raises(GenerationInterrupted):
        await show()
    assert "".join(shown) == FOUL.replace("씨발", "○○")
    assert len(await here.hits()) == 1


async def test_an_answer_that_is_stopped_keeps_what_was_found(room):
    here = room(list(FOUL * 3))
    async with aclosing(aiter(here.answers.reply(here.request(policy=AnswerPolicy.LOG)))) as pieces:
        async for _ in pieces:
            if await here.hits():
                break
    (hit,) = await here.hits()
    assert "씨발" in hit.text.generated
    assert hit.text.complete


async def test_a_profane_name_is_masked_in_the_prompt_and_logged_once(room):
    here = room(["네"], ["네"])
    for _ in range(2):
        await here.shown(name="씨발놈", policy=AnswerPolicy.MASK)
    assert "씨발" not in here.script.asks[0].prompt.text
    assert "○○" in here.script.asks[0].prompt.text
    (hit,) = await here.hits()
    assert (hit.text.direction, hit.text.outcome) == (Direction.NAME, Outcome.MASKED)


@pytest.mark.parametrize("kept", ["redacted", "hashed"])
async def test_less_of_the_text_is_stored_where_the_owner_says_so(room, kept):
    here = room(list(FOUL), kept=kept)
    await here.shown(policy=AnswerPolicy.LOG)
    (hit,) = await here.hits()
    assert hit.text.request is None
    for text in (hit.text.text, hit.text.prompt, hit.text.generated):
        assert text
        assert "오늘" not in text
    assert ("씨발" in hit.text.text) == (kept == "redacted")
    assert hit.text.seed is not None


WORDS = [
    "씨발",
    "ㅅㅂ",
    "개새끼",
    "병신",
    "시발점",
    "씨1발",
    "tlqkf",
    "젠장",
    "안녕하세요",
    "고마워요",
    "날씨가",
    "좋네요",
    "😀",
]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, data=st.data())
def test_whatever_the_cuts_nothing_masked_shows_and_every_hit_has_one_row(detector, text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=20)))
    deltas = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = [m for m in detector.find(text) if m.severity >= 2]
    seen = with_masks(text, expected)

    async def run() -> None:
        store = await Store.open("sqlite+aiosqlite:///:memory:")
        try:
            here = Room(store, _Ready(detector), Script([d for d in deltas if d]))
            shown = ""
            async for piece in here.answers.reply(here.request(policy=AnswerPolicy.MASK)):
                shown += piece
                assert seen.startswith(shown)
            assert shown == seen
            spans = [(hit.found.span_start, hit.found.span_end) for hit in await here.hits()]
            assert spans == [(m.start, m.end) for m in expected]
        finally:
            await store.close()

    asyncio.run(run())


class _Ready:
    """The detectors of a channel, made before the test."""

    def __init__(self, detector) -> None:
        self._detector = detector

    async def of(self, key, rules):
        return self._detector


def test_delivery_takes_nothing_that_was_not_screened():
    assert get_type_hints(Responder.__init__)["answers"] is ScreenedAnswers


async def test_clean_text_waits_for_twelve_characters_at_most(room):
    text = "오늘은 날씨가 참 좋아서 공원에 나가 한참 걸었어요. 내일도 맑으면 좋겠네요."
    given, shown = "", ""

    async def slowly(ask):
        nonlocal given
        for char in text:
            given += char
            yield Piece(char)
            # What the reply filter holds back by itself (a space at the end) does not count.
            assert len(shown) >= len(given.rstrip()) - HOLD_BACK - 1

    here = room()
    here.answers._replies._generate = slowly
    async for piece in here.answers.reply(here.request(policy=AnswerPolicy.MASK)):
        shown += piece
    assert shown == text
