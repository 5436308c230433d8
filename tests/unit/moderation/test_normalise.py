import unicodedata

import pytest

from kogpt_bot.moderation.hangul import compose_run, decompose, from_keys
from kogpt_bot.moderation.normalise import normalise, shortened


@pytest.mark.parametrize(
    ("jamo", "text"),
    [
        ("ㅅㅣㅂㅏㄹ", "시발"),
        ("ㄱㅏㄱㅅㅣ", "각시"),
        ("ㄷㅏㄹㄱ", "닭"),
        ("ㄷㅏㄹㄱㅣ", "달기"),
        ("ㅗㅏ", "ㅗㅏ"),
        ("ㄱㅗㅏㄴ", "관"),
        ("ㅅㅣㅋㅋㅋ", "시ㅋㅋㅋ"),
    ],
)
def test_jamo_compose_as_an_input_method_does(jamo: str, text: str) -> None:
    assert compose_run(list(jamo)) == text


@pytest.mark.parametrize(
    ("keys", "text"),
    [("tlqkf", "시발"), ("Tlqkf", "씨발"), ("rkqt", "값"), ("dkssud", "안녕")],
)
def test_two_set_keys(keys: str, text: str) -> None:
    assert from_keys(keys) == text


def test_decompose() -> None:
    assert decompose("값") == ("ㄱ", "ㅏ", "ㅄ")


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("ＡＢＣ", "abc"),
        (unicodedata.normalize("NFD", "각시 발"), "각시 발"),
        ("씨\u200b발", "씨발"),
        ("Ｃafé", "cafe"),
        ("ѕһіт", "shit"),
        ("🅕🅤🅒🅚", "fuck"),
        ("㉦㉥", "ㅅㅂ"),
        ("ㅂㅕㅇ1신", "병1신"),
        ("ㅅ1발", "시발"),
        ("^^ㅣ발", "시발"),
        ("人ㅣ발", "시발"),
        ("日人 정상", "日人 정상"),
        ("보통 문장이다.", "보통 문장이다."),
    ],
)
def test_views(text: str, view: str) -> None:
    assert normalise(text).text == view


def test_spans_lead_back() -> None:
    view = normalise("아 ㅅㅣㅂㅏㄹ")
    assert view.text == "아 시발"
    assert view.span(2, 4) == (2, 7)


def test_drawn_out_syllables_are_shortened_in_a_view_of_their_own() -> None:
    short = shortened(normalise("씨이이발 조오온나"))
    assert short is not None
    assert short.text == "씨발 존나"
    assert short.span(0, 2) == (0, 4)
    assert shortened(normalise("안녕하세요")) is None


def test_one_character_cannot_become_many() -> None:
    assert len(normalise("\ufdfa" * 100).text) <= 400
