"""A model that predicts by the whole text, as it finds it in a store that keeps text."""

import zlib
from array import array

import torch

from kogpt_bot.generation.kv_blocks import BLOCK, Tier

VOCABULARY, END = 40, 1  # END ends a text
FIRST = 0xAC00  # token n is the n-th syllable
_LOGITS = torch.randn(997, VOCABULARY, generator=torch.Generator().manual_seed(0)) * 2


def text(count, seed):
    """Return a text at random, without an end."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, VOCABULARY, (count,), generator=generator).tolist()


def logits_of(text):
    """Return the logits [vocabulary] of what follows a text: they depend on all of it."""
    return _LOGITS[zlib.crc32(array("H", text).tobytes()) % len(_LOGITS)]


class Syllables:
    """A tokenizer whose tokens are a syllable each, but for the end of a text, which is none."""

    def decode(self, ids, skip_special_tokens=True):
        return "".join(
            chr(FIRST + token) for token in ids if token != END or not skip_special_tokens
        )


class TextStore:
    """What lies in each block of the device and of the host: a token at each place, or None."""

    def __init__(self, blocks, host_blocks):
        self.device = [[None] * BLOCK for _ in range(blocks)]
        self.host = [[None] * BLOCK for _ in range(host_blocks)]
        self.before_move = lambda: None

    shrinks = True

    def carry_out(self, moves):
        while moves:
            self.before_move()
            move = moves.pop(0)
            source = (self.host if move.tier is Tier.IN else self.device)[move.source]
            target = (self.host if move.tier is Tier.OUT else self.device)[move.target]
            target[: move.tokens] = source[: move.tokens]

    def release(self, free):
        for begin, length in free:
            self.device[begin : begin + length] = [[None] * BLOCK for _ in range(length)]

    def text(self, table, count):
        """Return the first `count` tokens of a sequence."""
        lies = [token for block in table[: -(-count // BLOCK)] for token in self.device[block]]
        return lies[:count]


class TextModel:
    """Has what a `Stepper` asks of a model. `before` is told the segments of every pass, and `after`
    may spoil its logits; `faults` are what was wrong with what was given."""

    def __init__(self, *, asynchronous=False):
        self.asynchronous = asynchronous
        self.before = lambda segments: None
        self.after = lambda segments, logits: None
        self.faults = []

    def new_store(self, blocks, host_blocks=0):
        self.store = TextStore(blocks, host_blocks)
        return self.store

    def forward(self, store, tokens, positions, slots, segments):
        self.before(segments)
        for token, slot in zip(tokens.tolist(), slots.tolist(), strict=True):
            store.device[slot // BLOCK][slot % BLOCK] = token
        rows = []
        for each in segments:
            text = store.text(each.table, each.end)
            if None in text:
                self.faults.append(f"looked at place {text.index(None)}, where nothing lies")
                text = [token or 0 for token in text]
            if text[each.start :] != tokens[each.row : each.row + each.length].tolist():
                self.faults.append("what was written lies elsewhere")
            begin = each.end - each.want + 1
            rows += [logits_of(text[:count]) for count in range(begin, each.end + 1)]
        logits = torch.stack(rows) if rows else torch.empty(0, VOCABULARY)
        self.after(segments, logits)
        return logits
