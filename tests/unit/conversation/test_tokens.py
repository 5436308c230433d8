"""Tokens: nobody can write a special one, marked as special or not."""

import json

from kogpt_bot.conversation.tokens import ModelTokens
from tests.fakes.tokenizer import SPECIAL, make_tokenizer


def test_special_tokens_in_text_are_letters(codec):
    assert codec.encode_control("[EOS]") == [1]
    for token in SPECIAL:
        assert len(codec.encode(f"가{token}나")) > 4
        assert not set(codec.encode(token)) & set(range(len(SPECIAL)))


def test_added_tokens_that_are_not_marked_as_special_are_letters_too():
    content = json.loads(make_tokenizer().to_str())
    unset = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = {"<think>": len(content["model"]["vocab"]), "  ": len(content["model"]["vocab"]) + 1}
    for text, number in added.items():
        content["added_tokens"].append({"id": number, "content": text, "special": False, **unset})
    codec = ModelTokens(json.dumps(content).encode())
    assert codec.encode_control("<think>") == [added["<think>"]]
    assert added["<think>"] not in codec.encode("가<think>나")
    assert added["  "] in codec.encode("가  나")  # white space is nobody's control token
