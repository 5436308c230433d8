"""The values of the KV cache's bookkeeping: blocks in a tree, moves, and what a sequence holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from kogpt_bot.generation.scores import Scores

BLOCK = 16  # tokens: less wastes room in the tree, more wastes it at the ends of sequences


class Tier(Enum):
    """Where a move begins and ends."""

    WITHIN = "within"  # from a block to a block
    OUT = "out"  # from a block to the host
    IN = "in"  # from the host to a block


@dataclass(frozen=True, slots=True)
class Move:
    """Copy the first `tokens` tokens of a block; moves are carried out in their order."""

    tier: Tier
    source: int
    target: int
    tokens: int = BLOCK


@dataclass(slots=True, eq=False)
class Node:
    """One block of the tree; a leaf may have fewer than BLOCK tokens."""

    tokens: tuple[int, ...]
    parent: Node | None
    block: int | None = None  # on the device
    host: int | None = None  # or on the host
    refs: int = 0
    used: int = 0  # when, in ticks of the cache
    on_device: int = 0  # children that have a block
    salt: str = ""  # of a root: whose tree it is
    scores: Scores | None = None  # of its first tokens, or of all
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)

    def serves(self, alternatives: int | None) -> int:
        """Return how many of its first tokens serve a prompt that is (or is not) scored."""
        if alternatives is None:
            return len(self.tokens)
        if self.scores is None or self.scores.width < alternatives:
            return 0
        return len(self.scores)


Entry = tuple[int, int, Node]  # last use, order, node


@dataclass(slots=True, eq=False)
class Lease:
    """What a running sequence holds: its blocks, and the nodes of the tree that they are."""

    table: list[int]  # its blocks, in order
    path: list[Node]  # from the root; the first blocks of the table, or others with their content
    root: Node
    cached: int  # tokens that need not be computed
    scores: Scores | None = None  # where they are asked for: of the prompt, as far as is known


@dataclass(frozen=True, slots=True)
class Match:
    """What the tree has of a prompt: whole blocks, and the first `tail` tokens of one more.

    Where the prompt is scored, with so many `alternatives`, all of it and one token more have
    scores: that one is computed again, for the score of what follows it.
    """

    path: tuple[Node, ...]
    partial: Node | None
    tail: int
    alternatives: int | None = None

    @property
    def tokens(self) -> int:
        """How many tokens it is."""
        return len(self.path) * BLOCK + self.tail

    def scores(self) -> Scores | None:
        """Return the scores that are known, the first token's empty place among them."""
        if self.alternatives is None:
            return None
        if self.partial is None:
            return Scores.of_nothing(self.alternatives)
        known = Scores(self.alternatives)
        for node in (*self.path, self.partial):
            if node.scores is not None:
                known.extend(node.scores, 0, BLOCK if node is not self.partial else self.tail + 1)
        return known


@dataclass(slots=True)
class CacheCounts:
    """What happened since the start, in blocks."""

    evictions: int = 0
    moved_out: int = 0
    moved_in: int = 0


def blocks_of(tokens: int) -> int:
    """Return how many blocks so many tokens take."""
    return -(-tokens // BLOCK)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many leading tokens are the same; comparing slices runs at C speed."""
    end = min(len(one), len(other))
    if one[:end] == other[:end]:
        return end
    low = 0
    while low < end:
        middle = (low + end + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            end = middle - 1
    return low
