"""Cutting answers: nothing lost, nothing too long, nothing cut in the wrong place."""

import regex
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.adapter import LengthUnit
from kogpt_bot.delivery.split import length, split, split_once

pieces = st.one_of(
    st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),
    st.sampled_from(" .!?\n\t~ㅋㅠabc123"),
    st.sampled_from(["👩‍👩‍👧", "🇰🇷", "e\u0301", "\u1100\u1161\u11a8", "😀"]),
)
korean = st.lists(pieces, max_size=400).map("".join)


@given(text=korean, limit=st.integers(16, 80), unit=st.sampled_from(LengthUnit))
def test_every_part_fits_and_only_white_space_is_lost(text, limit, unit):
    parts = split(text, limit, unit)
    assert all(part and length(part, unit) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


@given(text=korean, more=korean, limit=st.integers(16, 60))
def test_a_full_part_does_not_change_when_text_follows(text, more, limit):
    head, rest = split_once(text, limit, LengthUnit.CODE_POINTS)
    if rest.strip():
        assert split_once(text + more, limit, LengthUnit.CODE_POINTS)[0] == head


def test_it_cuts_after_a_sentence_rather_than_inside_one():
    text = "오늘은 비가 와요. 우산을 꼭 챙겨서 나가야 해요."
    assert split(text, 20, LengthUnit.CODE_POINTS)[0] == "오늘은 비가 와요."


def test_it_cuts_between_eojeol_where_no_sentence_ends():
    parts = split("가나다라 마바사아 자차카타 파하가나", 16, LengthUnit.CODE_POINTS)
    assert parts == ["가나다라 마바사아 자차카타", "파하가나"]


def test_a_grapheme_is_never_cut():
    family = "👩‍👩‍👧‍👦"
    parts = split(family * 20, 30, LengthUnit.UTF16_UNITS)
    for part in parts:
        assert all(g == family for g in regex.findall(r"\X", part))


def test_utf16_units_count_an_emoji_twice():
    assert length("😀가", LengthUnit.UTF16_UNITS) == 3
    assert length("😀가", LengthUnit.CODE_POINTS) == 2


def test_an_open_code_fence_is_closed_and_opened_again():
    code = "코드예요.\n```python\n" + "\n".join(f"print({n})" for n in range(20)) + "\n```\n끝"
    parts = split(code, 80, LengthUnit.CODE_POINTS)
    assert len(parts) > 2
    for part in parts:
        assert part.count("```") % 2 == 0, part
    assert parts[1].startswith("```python\n")
    printed = [line for part in parts for line in part.splitlines() if line.startswith("print")]
    assert printed == [f"print({n})" for n in range(20)]


def test_a_grapheme_longer_than_the_limit_is_cut_rather_than_looped_on():
    zalgo = "가" + "\u0301" * 500
    parts = split(zalgo, 100, LengthUnit.CODE_POINTS)
    assert "".join(parts) == zalgo
    assert max(map(len, parts)) <= 100
