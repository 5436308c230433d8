"""What goes out pings nobody, triggers nothing, and fits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot_telegram.text import MAX_LENGTH, WORD_JOINER, clip, shield, utf16_length
from tests.fakes.telegram.entities import find_entities
from tests.fakes.telegram.platform import visible

PIECES = st.lists(
    st.sampled_from(
        ["@", "/", "name_1", "everyone", "가", " ", "\n", "😀", "(", "@@", "//", "a.b/c", "\u2060"]
    )
    | st.text(max_size=5),
    max_size=40,
)


def pinging(text):
    return [e for e in find_entities(text) if e["type"] in ("mention", "bot_command")]


@given(PIECES.map("".join))
def test_no_text_names_anybody_or_is_a_command(text):
    assert not pinging(shield(text))


@given(st.text())
def test_it_looks_as_before(text):
    text = "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)
    assert visible(shield(text)) == visible(text)


def test_the_fake_would_see_names_and_commands():
    kinds = [e["type"] for e in find_entities("안녕 @everyone /stop, (@a_b) https://a.bc/@who")]
    assert kinds == ["mention", "bot_command", "mention", "url"]


def test_the_joiner_stands_where_it_is_needed_only():
    assert shield("@koko_bot에게 a@b.kr 1/2 and/or") == (
        f"@{WORD_JOINER}koko_bot에게 a@{WORD_JOINER}b.kr 1/2 and/or"
    )
    assert shield("https://example.com/a") == "https://example.com/a"
    assert shield("/stop @x", commands=False) == f"/stop @{WORD_JOINER}x"


@pytest.mark.parametrize("sign", ["@a", "/a ", "@/"])
def test_a_full_message_has_room_for_no_joiner(sign):
    text = (sign * MAX_LENGTH)[:MAX_LENGTH]
    assert utf16_length(shield(text)) <= MAX_LENGTH
    assert not pinging(shield(text))


def test_half_a_character_is_replaced():
    assert shield("가\ud83d나") == "가\ufffd나"


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_clipping_keeps_the_limit(text, limit):
    text = "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)
    clipped = clip(text, limit)
    assert utf16_length(clipped) <= limit
    assert clipped == text or clipped.endswith("…")


@given(st.text())
def test_units_are_counted_as_telegram_does(text):
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_ten_thousand_generations_ping_nobody():
    draw = random.Random(20)
    pieces = ["@", "@@", "/", "everyone", "koko_bot", "a1", " ", "\n", "가", "😀", ".", "\u200b"]
    for _ in range(10_000):
        text = "".join(draw.choices(pieces, k=draw.randrange(1, 30)))
        assert not pinging(shield(text)), text
