"""From the model's stream to the answer: however it comes in pieces, the same text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.conversation.reply import ReplyFilter

SPEAKERS = ("민수", "지수 2", "코코")


def run(pieces, **options):
    cleaner = ReplyFilter("코코", SPEAKERS, **options)
    given_out = []
    for piece in pieces:
        given_out.append(cleaner.feed(piece))
        if cleaner.done:
            break
    given_out.append(cleaner.finish())
    return given_out, cleaner


WHOLE = [
    (" 안녕하세요!", "안녕하세요!"),
    ("\n\n 안녕", "안녕"),
    (" 코코: 코코: 안녕", "안녕"),
    (" 네\n민수: 나쁜 말", "네"),
    (" 네\n  민수 : 나쁜 말", "네"),
    (" 네\n지수 2: 말", "네"),
    (" 네\n코코: 또", "네"),
    (" 네\n민수는 좋아요", "네\n민수는 좋아요"),
    (" 재료: 밥\n국: 된장국", "재료: 밥\n국: 된장국"),
    (" 가\n\n나\n", "가\n\n나"),
    (" \n ", ""),
    ("코코", "코코"),
    (" 네\n민수", "네\n민수"),
    ("\n코코\n: 네", "코코\n: 네"),
    ("\n민수: 더", ""),
    ("민수: 제가 민수예요", ""),
    ("코코: \n민수: 나쁜 말", ""),
    ("민수 님, 안녕하세요", "민수 님, 안녕하세요"),
    (" 네\r\n민수: 말", "네"),
    (" 네\u2028민수: 말", "네"),
    (" 네\n\u200b민\u202e수: 말", "네"),
    (" 가족 👩‍💻\r\n둘", "가족 👩‍💻\n둘"),
]


@pytest.mark.parametrize(("raw", "clean"), WHOLE, ids=[raw for raw, _ in WHOLE])
def test_cleaning(raw, clean):
    assert "".join(run([raw])[0]) == clean
    assert "".join(run(list(raw))[0]) == clean


pieces = st.lists(
    st.sampled_from(
        [
            "\n",
            "민",
            "수",
            ":",
            " ",
            "코코",
            "코",
            "지수",
            " 2",
            "안녕",
            "요.",
            "：",
            "민수:",
            "\r",
            "\u2028",
            "\u200b",
        ]
    ),
    max_size=30,
)


@given(raw=pieces, cuts=st.data())
def test_the_split_into_deltas_does_not_matter(raw, cuts):
    whole = "".join(raw)
    deltas, rest = [], whole
    while rest:
        size = cuts.draw(st.integers(1, len(rest)))
        deltas.append(rest[:size])
        rest = rest[size:]
    given_out, cleaner = run(deltas)
    text = "".join(given_out)
    assert text == "".join(run([whole])[0]) == cleaner.text
    for name in SPEAKERS:
        assert f"\n{name}:" not in f"\n{text}"
    assert text == text.strip()


def test_one_line_only_where_asked():
    given_out, cleaner = run([" 첫 줄", "이에요\n둘", "째 줄"], multiline=False)
    assert "".join(given_out) == "첫 줄이에요"
    assert cleaner.done


def test_an_echo_is_never_shown():
    echo = "오늘 저녁에 뭐 먹을지 골라 줘"
    given_out, cleaner = run(list(f" {echo}!"), echoes=[echo])
    assert "".join(given_out) == ""
    assert cleaner.is_echo
    given_out, _ = run(list(f" {echo}? 김치찌개요!"), echoes=[echo])
    assert "".join(given_out) == f"{echo}? 김치찌개요!"


def test_a_short_greeting_may_be_returned():
    assert "".join(run([" 안녕하세요"], echoes=["안녕하세요"])[0]) == "안녕하세요"


def test_text_is_shown_early():
    given_out, _ = run([" 안", "녕", "하세요"])
    assert given_out == ["안", "녕", "하세요", ""]
