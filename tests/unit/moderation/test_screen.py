import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.moderation import PROFANE, Detector, StreamScreen
from kogpt_bot.moderation.screen import HOLD_BACK, LONGEST


def stream(screen: StreamScreen, deltas: list[str]) -> tuple[str, list[tuple[int, int]]]:
    parts = [screen.feed(delta) for delta in deltas] + [screen.finish()]
    spans = [(match.start, match.end) for part in parts for match in part.matches]
    return "".join(part.text for part in parts), spans


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "word", ["씨발", "ㅅㅣㅂㅏㄹ", "씨1발", "개 새 끼", "tlqkf", "씨이이이발", "병신"]
)
def test_a_split_word_never_shows(detector: Detector, word: str, size: int) -> None:
    text = f"오늘은 날씨가 참 좋네요 {word} 그래서 산책을 나갔습니다"
    deltas = [text[at : at + size] for at in range(0, len(text), size)]
    shown, spans = stream(StreamScreen(detector), deltas)
    assert shown == text.replace(word, "○○")
    begin = text.index(word)
    assert spans == [(begin, begin + len(word))]


def test_clean_text_waits_for_at_most_the_hold_back(detector: Detector) -> None:
    text = "이 버스의 시발점은 서울역이고 종점은 부산입니다. 영화는 아직 보지 못했다고 하네요."
    screen, shown = StreamScreen(detector), ""
    for fed, char in enumerate(text, start=1):
        shown += screen.feed(char).text
        assert len(shown) >= fed - HOLD_BACK
    assert shown + screen.finish().text == text


def test_the_right_context_is_waited_for(detector: Detector) -> None:
    shown, spans = stream(StreamScreen(detector), ["여행의 시발", "점이다"])
    assert (shown, spans) == ("여행의 시발점이다", [])


@pytest.mark.parametrize(
    "clean", ["시발점이다", "보지 못했다", "새끼 고양이", "이년 전에", "개시발표", "pussy willow"]
)
def test_a_clean_word_is_not_cut_into_a_profane_one(detector: Detector, clean: str) -> None:
    text = f"어제 읽은 이야기인데 {clean} 라고 적혀 있어서 한참을 웃었다고 합니다"
    screen, shown = StreamScreen(detector), ""
    for char in text:
        shown += screen.feed(char).text
        assert not detector.is_profane(shown), shown
    assert shown + screen.finish().text == text


def test_mild_words_pass_and_are_reported(detector: Detector) -> None:
    shown, spans = stream(StreamScreen(detector), ["젠", "장 늦었다"])
    assert (shown, spans) == ("젠장 늦었다", [(0, 2)])


def test_the_caller_says_what_is_shown(detector: Detector) -> None:
    screen = StreamScreen(detector, show=lambda match: f"[{match.canonical}]")
    assert stream(screen, ["야 씨1", "발 뭐"])[0] == "야 [씨발] 뭐"


def test_a_long_stream_reports_each_match_once_at_its_place(detector: Detector) -> None:
    text = "안녕하세요 반갑습니다 씨발 그리고 " * 30
    _, spans = stream(StreamScreen(detector), list(text))
    assert len(spans) == 30
    assert all(text[start:end] == "씨발" for start, end in spans)


_PIECES = [
    *[
        "씨발",
        "시1발",
        "ㅅㅣㅂㅏㄹ",
        "개 새 끼",
        "씨이이발",
        "ㅅㅂ",
        "ㅅH77ㅣ야",
        "병\u200b신",
        "tlqkf",
    ],
    *[
        "fuck",
        "f.u.c.k",
        "s i b a l",
        "시 . 발",
        "이 새끼가",
        "좆같네",
        "미친 놈",
        "느금마",
        "보1지",
    ],
    *[
        "시발점",
        "보지 못했다",
        "새끼 고양이",
        "이년 전에",
        "다시 발표",
        "일본에 뒤져",
        "ㅋㅋㅋㅋㅋㅋㅋ",
    ],
    *["오늘은 날씨가 좋네요", " ", "\n", ". ", "그래서", "class", "1", "ㅠ"],
]
_ANY_TEXT = st.lists(st.sampled_from(_PIECES), max_size=9).map("".join)
_CUTS = st.lists(st.integers(0, 120), max_size=12).map(sorted)
_SHARED = Detector.default()  # hypothesis wants no function-scoped fixture


@settings(max_examples=150, deadline=None)
@given(_ANY_TEXT, _CUTS)
def test_however_it_is_cut_nothing_profane_shows(text: str, cuts: list[int]) -> None:
    deltas = [text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    screen = StreamScreen(_SHARED, show=lambda _: "")
    parts = [screen.feed(delta) for delta in deltas] + [screen.finish()]
    masked = {
        at
        for part in parts
        for match in part.matches
        if match.severity >= PROFANE
        for at in range(match.start, match.end)
    }
    assert "".join(part.text for part in parts) == "".join(
        char for at, char in enumerate(text) if at not in masked
    )
    for match in _SHARED.find(text):
        if match.severity >= PROFANE and match.end - match.start <= LONGEST:
            assert masked.issuperset(range(match.start, match.end)), match


@settings(max_examples=100, deadline=None)
@given(_ANY_TEXT, _CUTS)
def test_clean_text_is_never_late(text: str, cuts: list[int]) -> None:
    shown = fed = 0
    screen = StreamScreen(_SHARED, show=lambda match: match.text)
    for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True):
        fed += len(text[low:high])
        shown += len(screen.feed(text[low:high]).text)
        assert shown >= fed - HOLD_BACK


def test_the_rest_of_a_longer_disguise_is_masked(detector: Detector) -> None:
    text = "와 씨ㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋ발 놀랐다"
    shown, _ = stream(StreamScreen(detector), list(text))
    assert "발" not in shown
    assert shown.endswith("○○ 놀랐다")
