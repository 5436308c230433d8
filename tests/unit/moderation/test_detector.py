import csv
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot.moderation import Category, Detector

DATA = Path(__file__).parents[2] / "data" / "profanity"


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_obfuscated_words_are_found_in_every_kind(detector: Detector) -> None:
    found: dict[str, list[bool]] = defaultdict(list)
    for row in rows("positives.tsv"):
        found[row["kind"]].append(detector.is_profane(row["text"]))
    every = [hit for hits in found.values() for hit in hits]
    assert len(every) >= 300
    assert sum(every) / len(every) >= 0.92
    assert {kind for kind, hits in found.items() if sum(hits) / len(hits) < 0.8} == set()


def test_categories_are_told_apart(detector: Detector) -> None:
    cases = rows("positives.tsv")
    right = sum(
        row["category"] in {match.category.value for match in detector.find(row["text"])}
        for row in cases
    )
    assert right / len(cases) >= 0.9


def test_innocent_look_alikes_are_left_alone(detector: Detector) -> None:
    cases = rows("innocent.tsv")
    flagged = [row["text"] for row in cases if detector.is_profane(row["text"])]
    assert len(cases) >= 300
    assert len(flagged) / len(cases) <= 0.03, flagged


@pytest.mark.parametrize(
    ("text", "start", "end", "canonical"),
    [
        ("아 ㅅㅣㅂㅏㄹ 진짜", 2, 7, "씨발"),
        ("야 씨1발", 2, 5, "씨발"),
        ("와 씨이이발!", 2, 6, "씨발"),
        ("이건 ＦＵＣＫ", 3, 7, "fuck"),
        ("tlqkf 뭐야", 0, 5, "씨발"),
        ("와 ^^ㅣ발", 2, 6, "씨발"),
        ("저 병\u200b신", 2, 5, "병신"),
        ("이런 짱1깨", 3, 6, "짱깨"),
    ],
)
def test_spans_count_in_the_original(
    detector: Detector, text: str, start: int, end: int, canonical: str
) -> None:
    (match,) = detector.find(text)
    assert (match.start, match.end, match.canonical) == (start, end, canonical)
    assert match.text == text[start:end]


def test_mild_words_are_reported_but_not_profane(detector: Detector) -> None:
    (match,) = detector.find("젠장 또 늦었네")
    assert (match.category, match.severity) == (Category.MILD, 1)
    assert not detector.is_profane("젠장 또 늦었네")
    assert detector.is_profane("젠장 또 늦었네", threshold=1)


def test_a_mild_word_does_not_hide_a_graver_one(detector: Detector) -> None:
    assert [match.canonical for match in detector.find("개지랄하네")] == ["지랄"]


def test_allowed_phrases_and_extra_words(detector: Detector) -> None:
    own = detector.with_words(allow=["시발 자전거", "지랄"], extra=["멍게해삼", "blorp"])
    assert not own.is_profane("시발 자전거 타자")
    assert not own.is_profane("지랄")
    assert own.is_profane("씨발")
    assert [match.rule for match in own.find("이 멍게해삼아")] == ["extra:멍게해삼"]
    assert own.is_profane("멍1게해삼")
    assert own.is_profane("you BLORP")
    assert not detector.is_profane("이 멍게해삼아 blorp")


def test_explain_names_place_reading_and_rule(detector: Detector) -> None:
    (line,) = detector.explain("씨1발")
    assert "0-3 '씨1발', read as 씨발" in line
    assert "rule ssibal" in line
    assert detector.explain("안녕하세요") == ["nothing found"]


@settings(max_examples=60, deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from("시씨발병신새끼개ㅅㅂㅣㅏㄹ1*. \u200b^lfuckＡㄳ각이"), max_size=40
    )
)
def test_any_text_gives_ordered_spans_within_it(text: str) -> None:
    at = 0
    for match in _SHARED.find(text):
        assert at <= match.start < match.end <= len(text)
        assert match.text == text[match.start : match.end]
        at = match.end


_SHARED = Detector.default()  # hypothesis wants no function-scoped fixture


@pytest.mark.parametrize(
    "unit",
    [
        "시",
        "씨이",
        "개.",
        "f*",
        "시1",
        "tlqkf ",
        "시발",
        "시발점",
        "ㅅㅣ",
        "$",
        "^",
        "i!1|",
        "이",
        "ﷺ",
        "ㅅ1",
        "ㅅㅂ",
        "시 ",
        "씨ㅋㅋㅋ",
        "ㅅ.ㅣ.",
        "새ㄲ",
        "느금",
        "이 새",
        "s i b ",
        "지금 뒤",
        "\u200b",
        "\n시",
    ],
)
def test_time_grows_linearly_with_hostile_repeats(detector: Detector, unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        detector.find(text)
        best = float("inf")
        for _ in range(2):
            begin = time.process_time()
            detector.find(text)
            best = min(best, time.process_time() - begin)
        return best

    # Eight times the text; quadratic work would take 64 times as long.
    assert seconds(4_000) < 24 * max(seconds(500), 0.0005)
