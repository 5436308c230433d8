"""A tokenizer for the conversation's tests."""

import pytest

from kogpt_bot.conversation.tokens import ModelTokens
from tests.fakes.tokenizer import make_tokenizer


@pytest.fixture(scope="session")
def codec():
    return ModelTokens(make_tokenizer().to_str().encode())
