"""What people see of an escaped text is the text; nothing in it takes effect."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kogpt_bot_discord.markup import MAX_LENGTH, escape
from tests.fakes.discord.render import effects, render

PIECES = [
    "@everyone", "@here", "<@123456789012345678>", "<@!123456789012345678>",
    "<@&123456789012345678>", "<#123456789012345678>", "<:a:123456789012345678>",
    "</kogpt chat:123456789012345678>", "<t:1700000000:R>", "<id:customize>", ":smile:",
    "**굵게**", "__밑줄__", "_기울임_", "*기울임*", "~~취소~~", "||숨김||", "`코드`", "``코`드``",
    "```py\nprint()\n```", "[링크](https://example.com)", "<https://example.com>",
    "https://example.com/a_b_c", "https://example.com/*a*", "http://a.b/(c)", "# 제목\n",
    "-# 작게\n", "> 인용\n", ">>> 모두\n", "- 목록\n", "* 목록\n", "1. 순서\n", "\n", " ", "\\",
    "\\\\", "\u200b", "\u202e", "\u2060", "가", "👩\u200d👩\u200d👧", "¯\\_(ツ)_/¯", "@", "<", ">", "*", "_", "`",
    "|", "~", "#", "-", ":", "[", "]", "(", ")", "1.", "a", "\ufeff", "\u00ad",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=30).map("".join)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_what_is_seen_is_what_was_written(text):
    text = text[:900]  # twice as long at most
    escaped = escape(text)
    assert effects(escaped) == []
    assert render(escaped) == re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_no_mention_of_a_person_or_a_role_is_left_for_any_parser_to_find(text):
    assert not re.search(r"<@[!&]?\d", escape(text[:900]))


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=20).map("".join))
@settings(max_examples=30, deadline=None)
def test_it_always_fits_and_nothing_takes_effect(pieces):
    text = (pieces * MAX_LENGTH)[:MAX_LENGTH]
    escaped = escape(text)
    assert len(escaped) <= MAX_LENGTH
    assert effects(escaped) == []
    assert len(render(escaped)) == len(text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("평범한 글 (그냥) 1.5 - 2, a#b", "평범한 글 (그냥) 1.5 - 2, a#b"),
        ("https://ko.wikipedia.org/wiki/한국_역사", "https://ko.wikipedia.org/wiki/한국_역사"),
        ("  - 하나\n2. 둘", "  \\- 하나\n2\\. 둘"),
        ("<@1>", "\\<\\@1\\>"),
        ("12:30:45", "12\\:30:45"),
        ("half \ud83d", "half \ufffd"),
    ],
)
def test_no_more_is_escaped_than_must_be(text, escaped):
    assert escape(text) == escaped
