"""Transcripts as tokens: the loss is on the bot's answers, which learn to end in [EOS]."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer

from training.chats import ChatSource

EOS = 1
LENGTH = 256  # tokens of a sequence
PEOPLE = 0.2  # weight of what people say: the language is still being learned
CHARS = 300  # of one transcript, about 200 tokens with the header


def encode(
    source: ChatSource, tokenizer: Tokenizer, length: int
) -> tuple[list[int], list[int], list[float]]:
    """Return tokens, labels and weights of one sequence [length].

    The label after the last token of an answer is [EOS], while the input goes on with the line
    break that the history has.
    """
    ids: list[int] = []
    labels: list[int] = []
    weights: list[float] = []
    while len(ids) - ids.count(-1) <= length:  # the marks are taken out again
        for text, whose in source.transcript(CHARS):
            piece = tokenizer.encode(text, add_special_tokens=False).ids
            ids += piece
            labels += piece
            weights += [{True: 1.0, False: PEOPLE, None: 0.0}[whose]] * len(piece)
            if whose:
                labels.append(EOS)  # stands where the line break's label would be
                weights.append(1.0)
                ids.append(-1)  # marks the place; the line break itself follows
        ids.append(EOS)
        labels.append(EOS)
        weights.append(0.0)
    return _shift(ids, labels, weights, length)


def _shift(
    ids: list[int], labels: list[int], weights: list[float], length: int
) -> tuple[list[int], list[int], list[float]]:
    """Return inputs and what follows each: at the end of an answer, the marked [EOS]."""
    inputs: list[int] = []
    following: list[int] = []
    shares: list[float] = []
    for at, token in enumerate(ids[:-1]):
        if token == -1:
            continue
        inputs.append(token)
        following.append(labels[at + 1])
        shares.append(weights[at + 1])
    return inputs[:length], following[:length], shares[:length]


def batch(source: ChatSource, tokenizer: Tokenizer, rows: int) -> tuple[torch.Tensor, ...]:
    """Return tokens, labels and weights, each [rows, LENGTH]."""
    made = [encode(source, tokenizer, LENGTH) for _ in range(rows)]
    tokens, labels, weights = zip(*made, strict=True)
    return torch.tensor(tokens), torch.tensor(labels), torch.tensor(weights)
