"""Text out of tokens: whole characters only, nothing lost, and never part of a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.generation.text import UNFINISHED, StopBuffer, TextStream
from tests.fakes.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer()
korean = st.text(alphabet=st.sampled_from("안녕하세요 반가워\n😀👩‍💻ㅋㅠabc!각힣"), max_size=40)


def stream(ids):
    text = TextStream(TOKENIZER)
    return [*(text.push(each) for each in ids), text.finish()]


@given(korean)
def test_pieces_join_to_the_text(text):
    pieces = stream(TOKENIZER.encode(text).ids)
    assert "".join(pieces) == text
    assert not any(UNFINISHED in piece for piece in pieces)


def test_a_character_of_several_tokens_comes_when_it_is_whole():
    ids = TOKENIZER.encode("뷁").ids
    assert len(ids) == 3
    assert stream(ids) == ["", "", "뷁", ""]


BYTES = sorted(  # tokens of one byte each, which make broken characters likely
    id_ for token, id_ in TOKENIZER.get_vocab().items() if len(token) == 1 and ord(token) > 0x7F
)


@given(st.lists(st.sampled_from(BYTES) | st.integers(5, 599), max_size=60))
def test_any_tokens_give_what_the_decoder_gives(ids):
    """Bytes that are no character, in between or at the end, are dropped."""
    whole = TOKENIZER.decode(ids)
    assert "".join(stream(ids)) == whole.replace(UNFINISHED, "")


def test_special_tokens_are_no_text():
    ids = TOKENIZER.encode("안녕").ids
    assert "".join(stream([0, *ids, 1, 3])) == "안녕"


@given(text=korean, stops=st.lists(korean.filter(bool), max_size=4), cuts=st.data())
def test_text_ends_before_the_first_stop_however_it_comes(text, stops, cuts):
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    buffer = StopBuffer(stops)
    given_out = ""
    rest = text
    while rest:
        size = cuts.draw(st.integers(1, len(rest)))
        given_out += buffer.push(rest[:size])
        rest = rest[size:]
        assert not any(stop in given_out for stop in stops)
    given_out += buffer.finish()
    assert buffer.stopped == bool(found)
    assert given_out == (text[: min(found)[1]] if found else text)


def test_what_may_become_a_stop_is_held_back():
    buffer = StopBuffer(["\n민수:"])
    assert buffer.push("네\n민") == "네"
    assert buffer.push("들레") == "\n민들레"
    assert buffer.push("\n민수") == ""
    assert buffer.push(": 나") == ""
    assert buffer.stopped


@pytest.mark.parametrize(("include", "wanted"), [(True, "가나."), (False, "가나")])
def test_the_stop_can_be_included(include, wanted):
    buffer = StopBuffer(["."], include=include)
    assert buffer.push("가나.다") + buffer.finish() == wanted
