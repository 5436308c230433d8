import pytest

from kogpt_bot.moderation.drawing import drawn


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("ㄱㅐAH77ㅣ", "개새끼"),
        ("ㅅH77ㅣ야", "새끼야"),
        ("ㅂㅕ0신", "병신"),
        ("ㅈ0ㄴ나", "존나"),
        ("시ㅂr", "시바"),
        ("sㅣ발", "시발"),
        ("人1발", "시발"),
        ("ㅅㅅㅣ발", "씨발"),
        ("ㅅ.ㅣ.ㅂ.ㅏ.ㄹ", "시발"),
        ("ㅅ ㅣ ㅂ ㅏ ㄹ", "시발"),
    ],
)
def test_what_is_drawn_beside_jamo_is_read_as_jamo(text: str, read: str) -> None:
    view = drawn(text)
    assert view is not None
    assert view.text == read
    assert view.span(0, len(read)) == (0, len(text))


@pytest.mark.parametrize("text", ["", "안녕하세요 77층", "AH 1등 ㅋㅋ", "ㅇㅈ 그건 그래"])
def test_ordinary_text_has_no_such_view(text: str) -> None:
    assert drawn(text) is None
