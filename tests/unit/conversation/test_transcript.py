"""The lines of a transcript: one line each, one colon after the name, whatever people write."""

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.conversation import transcript
from kogpt_bot.conversation.speakers import Line, distinct_names

BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
wild = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            BREAKS + ":：︓։׃\u3164\u115f\u2800\u200b\u200d\ufe0f\u202e\u2066\U000e0041 "
        ),
        st.sampled_from("코코민수👩💻🇰🇷👍🏽\u0301"),
    ),
    max_size=60,
)


@given(name=wild, text=wild)
def test_a_turn_is_one_line_with_nothing_hidden(name, text):
    line = transcript.line(name, text)
    assert not set(line[:-1]) & set(BREAKS)
    assert not [c for c in line[:-1] if c != "\u200d" and unicodedata.category(c) in ("Cf", "Cc")]
    label = line.split(":", 1)[0]
    assert label == transcript.speaker_name(name)


@given(name=wild)
def test_a_name_is_short_seen_and_stays_what_it_is(name):
    clean = transcript.speaker_name(name)
    assert 1 <= len(clean) <= transcript.MAX_NAME_CHARS
    assert clean == transcript.speaker_name(clean)
    assert regex.search(r"[\p{L}\p{N}\p{P}\p{S}]", clean)
    assert not regex.search(r"[\u115f\u1160\u3164\uffa0\u2800]", clean)


@given(
    names=st.lists(
        st.one_of(wild, st.sampled_from(["코코", "민수", "가" * 22 + " 나다"])), max_size=8
    )
)
def test_names_differ_from_each_other_and_from_the_bots(names):
    """Also after the transcript has cleaned them once more, so that the stops hold."""
    given_out = distinct_names([Line(str(n), name, "") for n, name in enumerate(names)], "코코")
    found = list(given_out.values())
    assert len({*found, "코코"}) == len(names) + 1
    assert found == [transcript.speaker_name(each) for each in found]


@pytest.mark.parametrize(
    "name", ["코코\u3164", "\u3164코코", "코코\u115f", "코코\u2800", "코\u034f코", "코코：", "코\u0301코", "ㅋㅗㅋㅗ"]
)  # fmt: skip
def test_nobody_looks_like_the_bot(name):
    assert distinct_names([Line("u", name, "")], "코코") != {"u": "코코"}
    assert distinct_names([Line("u", name, "")], "코코")["u"].endswith(" 2")


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("가" * 23 + "🇰🇷", "가" * 23),
        ("가" * 23 + "👍🏽", "가" * 23),
        ("가" * 22 + "👩‍💻", "가" * 22),
        ("가" * 21 + "👩‍💻", "가" * 21 + "👩‍💻"),
        ("e" + "\u0301" * 60, "e" + "\u0301" * 23),
    ],
)
def test_a_long_name_is_cut_between_graphemes(name, short):
    assert transcript.speaker_name(name) == short


@pytest.mark.parametrize(
    "name", ["", " ", "\u3164", "\u2800", "\u200b", "\u0301", "\u200d\ufe0f", "::"]
)
def test_who_has_no_name_is_a_guest(name):
    assert transcript.speaker_name(name) == transcript.NAMELESS


def test_emoji_newer_than_this_python_are_kept():
    assert transcript.utterance("고마워 🩷🫨") == "고마워 🩷🫨"


def test_ordinary_text_is_what_the_model_was_trained_on():
    assert transcript.line("하늘 2", " 안녕!  오늘\n어때? (ㅎㅎ) 3:4\t“응” ") == (
        "하늘 2: 안녕! 오늘 어때? (ㅎㅎ) 3:4 “응”\n"
    )
