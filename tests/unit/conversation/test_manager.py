"""The manager: one history in, an answer out; never silence, never another channel."""

import re

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kogpt_bot.conversation.chat_template import ChatTemplate
from kogpt_bot.conversation.manager import (
    ConversationManager,
    HistoryLine,
    Piece,
    ReplyRequest,
    ServingModel,
)
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from kogpt_bot.conversation.settings import (
    ChannelSettings,
    Context,
    PromptSettings,
    PromptStyle,
    Sampling,
)
from kogpt_bot.conversation.speakers import Line
from kogpt_bot.conversation.tokens import ModelTokens
from kogpt_bot.errors import ConfigurationError, GenerationInterrupted
from kogpt_bot.messages import ChannelKey
from tests.fakes.tokenizer import make_tokenizer

KEY = ChannelKey("web", "방")


class Model:
    """Answers each attempt with the next script; an exception in it is raised."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.asks = []
        self.closed = 0

    async def __call__(self, ask):
        self.asks.append(ask)
        try:
            for piece in self.scripts.pop(0):
                if isinstance(piece, Exception):
                    raise piece
                yield Piece(piece)
            yield Piece("", "stop")
        finally:
            self.closed += 1


def history(*texts):
    return [HistoryLine(n + 1, Line("u1", "민수", text)) for n, text in enumerate(texts)]


@pytest.fixture
def request_for(codec):
    def make(*texts, settings=ChannelSettings(), lines=None, context=512):
        model = ServingModel("m", context, codec)
        return ReplyRequest(KEY, settings, DEFAULT_PERSONA, lines or history(*texts), model)

    return make


def manager(model):
    seeds = iter(range(100, 200))
    return ConversationManager(model, lambda: next(seeds))


async def answer(model, request):
    reply = manager(model).reply(request)
    return [text async for text in reply], reply.outcome


async def test_an_answer_streams_and_is_recorded(request_for):
    model = Model([" 안녕", "하세요!"])
    pieces, outcome = await answer(model, request_for("안녕"))
    assert pieces == ["안녕", "하세요!"]
    assert (outcome.seed, outcome.attempts, outcome.fallback) == (100, 1, False)
    assert outcome.finish_reason == "stop"
    assert outcome.generated == " 안녕하세요!"
    assert outcome.prompt.endswith("민수: 안녕\n코코:")
    assert outcome.prompt_tokens == len(model.asks[0].prompt.ids)


async def test_what_another_speaker_says_ends_it_and_the_stream_is_closed(request_for):
    model = Model([" 네", "\n민수: 더", "는 안 읽어요", "!" * 50])
    pieces, _ = await answer(model, request_for("안녕"))
    assert "".join(pieces) == "네"
    assert model.closed == 1


async def test_an_empty_answer_is_asked_for_once_more_with_another_seed(request_for):
    model = Model(["\n", " "], [" 네!"])
    pieces, outcome = await answer(model, request_for("안녕"))
    assert pieces == ["네!"]
    assert [ask.seed for ask in model.asks] == [100, 101]
    assert outcome.attempts == 2


async def test_an_echo_counts_as_empty_and_then_the_persona_answers(request_for):
    said = "오늘 저녁 메뉴를 골라 줘"
    model = Model([f" {said}"], [f" {said}."])
    pieces, outcome = await answer(model, request_for(said))
    assert outcome.fallback
    assert pieces[0] in DEFAULT_PERSONA.fallback_lines


async def test_a_fixed_seed_is_used(request_for):
    model = Model([""], [" 네"])
    settings = ChannelSettings(sampling=Sampling(seed=7))
    await answer(model, request_for("안녕", settings=settings))
    assert [ask.seed for ask in model.asks] == [7, 8]


async def test_errors_of_the_service_pass_through(request_for):
    model = Model([" 네", GenerationInterrupted("gone")])
    reply = manager(model).reply(request_for("안녕"))
    with pytest.raises(GenerationInterrupted):
        [text async for text in reply]
    assert model.closed == 1


async def test_the_prompt_leaves_room_for_the_answer(request_for):
    settings = ChannelSettings(sampling=Sampling(max_new_tokens=100))
    request = request_for(*["아주 긴 이야기예요 " * 5] * 50, settings=settings, context=400)
    assert len(manager(Model()).prompt(request).ids) <= 300


async def test_the_window_keeps_its_start_until_it_is_full(request_for):
    """So that the serving model can use again what it has computed."""
    under_test = manager(Model())
    starts = []
    said = []
    for number in range(120):
        said.append(f"{number}번째 이야기를 할게요")
        settings = ChannelSettings(context=Context(max_messages=40))
        lines = [HistoryLine(n + 1, Line("u", "민수", t)) for n, t in enumerate(said)][-40:]
        prompt = under_test.prompt(request_for(lines=lines, settings=settings, context=700))
        body = prompt.text.split("\n\n", 1)[1]
        starts.append(body.split("번째")[0])
        assert f"{number}번째" in body
    assert len(set(starts)) <= 15


async def test_a_chat_style_without_a_template_is_said(request_for):
    settings = ChannelSettings(prompt=PromptSettings(style=PromptStyle.CHAT))
    with pytest.raises(ConfigurationError, match="allowed here: transcript"):
        manager(Model()).prompt(request_for("안녕", settings=settings))


CODEC = ModelTokens(make_tokenizer().to_str().encode())
TEMPLATE = ChatTemplate(
    "{% for m in messages %}[BOS]{{ m.role }}\n{{ m.content }}[EOS][EOS][EOS]\n{% endfor %}[BOS]",
    {},
)


@hypothesis_settings(deadline=None)
@given(order=st.lists(st.integers(0, 2), min_size=1, max_size=40), context=st.integers(150, 700))
def test_another_channels_text_is_never_in_the_prompt(order, context):
    """The manager remembers only where windows begin: never a text, and for each channel alone."""
    under_test = manager(Model())
    said = {0: [], 1: [], 2: []}
    for number, room in enumerate(order):
        said[room].append(HistoryLine(number, Line("u", "민수", f"방{room}에서 {number}번")))
        key = ChannelKey("web", f"방 {room}")
        serving = ServingModel("m", context, CODEC)
        request = ReplyRequest(key, ChannelSettings(), DEFAULT_PERSONA, said[room], serving)
        text = under_test.prompt(request).text
        assert set(re.findall(r"방(\d)에서", text)) == {str(room)}
        assert f"방{room}에서 {number}번" in text


@pytest.mark.parametrize("style", list(PromptStyle))
def test_in_either_style_the_prompt_only_grows_until_the_window_is_full(style):
    """A group with equal names, answered each time: the next prompt begins as the last one did."""
    under_test = manager(Model())
    chosen = ChannelSettings(prompt=PromptSettings(style=style), context=Context(max_messages=1000))
    lines, begins = [], []
    for number in range(150):
        who = number % 3
        lines.append(HistoryLine(2 * number, Line(f"u{who}", "민수", f"{number}번째 이야기")))
        model = ServingModel("m", 1500, CODEC, TEMPLATE)
        text = under_test.prompt(ReplyRequest(KEY, chosen, DEFAULT_PERSONA, lines, model)).text
        begins.append(re.search(r"\d+번째", text).group())
        lines.append(HistoryLine(2 * number + 1, Line("b", "코코", "그래요", True)))
    assert len(set(begins)) <= 15


def test_people_keep_their_names_when_the_window_is_cut(codec):
    lines = [HistoryLine(0, Line("u0", "민수", "나는 첫째"))]
    lines += [HistoryLine(n, Line("u1", "민수", f"{n}번째 이야기를 할게요")) for n in range(1, 90)]
    request = ReplyRequest(
        KEY, ChannelSettings(), DEFAULT_PERSONA, lines, ServingModel("m", 500, codec)
    )
    text = manager(Model()).prompt(request).text
    assert "첫째" not in text
    assert "민수 2: 89번째" in text


async def test_no_more_is_asked_for_than_the_context_holds(request_for):
    model = Model([" 네"])
    settings = ChannelSettings(sampling=Sampling(max_new_tokens=4096))
    await answer(model, request_for("안녕", settings=settings))
    ask = model.asks[0]
    assert len(ask.prompt.ids) + ask.sampling.max_new_tokens == 512


async def test_the_largest_seed_has_a_successor(request_for):
    model = Model([""], [" 네"])
    settings = ChannelSettings(sampling=Sampling(seed=2**63 - 1))
    await answer(model, request_for("안녕", settings=settings))
    assert [ask.seed for ask in model.asks] == [2**63 - 1, 0]


async def test_an_answer_in_somebody_elses_name_is_not_shown(request_for):
    model = Model(["\n민수", ": 제가 민수예요"], [" 네!"])
    pieces, outcome = await answer(model, request_for("안녕"))
    assert pieces == ["네!"]
    assert outcome.attempts == 2


async def test_the_reason_why_it_ended_is_the_last_attempts(request_for):
    async def model(ask):
        if ask.seed == 100:
            yield Piece("", "length")
        else:
            yield Piece(" 네\n민수: 더")

    pieces, outcome = await answer(model, request_for("안녕"))
    assert (pieces, outcome.finish_reason) == (["네"], "stop")
