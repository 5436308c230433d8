"""The KV cache's bookkeeping: who holds how many tokens, and whose prefix can be used again.

Pure Python: tokens are counted here, tensors live in `model.py`. A finished sequence stays until
its room is needed, least recently used first, since the same channel will soon ask with the same
beginning.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Slot:
    """The room of one sequence: `capacity` tokens, of which `tokens` are computed."""

    id: int
    channel: str
    capacity: int
    tokens: list[int]


class KVCachePool:
    """At most `capacity` tokens in all slots together."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._ids = itertools.count()
        self._active: dict[int, Slot] = {}
        self._idle: OrderedDict[int, Slot] = OrderedDict()  # least recently used first
        self.dropped: list[int] = []  # slot ids whose tensors may go; the engine empties it

    @property
    def active_tokens(self) -> int:
        """How many tokens running sequences have reserved."""
        return sum(slot.capacity for slot in self._active.values())

    @property
    def idle_tokens(self) -> int:
        """How many tokens finished sequences hold."""
        return sum(slot.capacity for slot in self._idle.values())

    def can_reserve(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens can run now, idle slots given up for it."""
        return self.active_tokens + tokens <= self.capacity

    def reserve(self, channel: str, tokens: int) -> Slot:
        """Return a new slot; the caller has asked `can_reserve`."""
        if not self.can_reserve(tokens):
            raise ValueError(f"no room for {tokens} tokens")
        while self.active_tokens + self.idle_tokens + tokens > self.capacity:
            slot_id, _ = self._idle.popitem(last=False)
            self.dropped.append(slot_id)
        slot = Slot(next(self._ids), channel, tokens, [])
        self._active[slot.id] = slot
        return slot

    def donor(self, prompt: Sequence[int]) -> tuple[Slot, int] | None:
        """Return the slot that shares the longest beginning with `prompt`, and how many tokens.

        The last token of the prompt is never shared: its logits are what is asked for.
        """
        wanted = list(prompt[:-1])
        best: tuple[Slot, int] | None = None
        for slot in itertools.chain(self._active.values(), self._idle.values()):
            shared = common_prefix(slot.tokens, wanted)
            if shared and (best is None or shared > best[1]):
                best = (slot, shared)
        return best

    def touch(self, slot: Slot) -> None:
        """Say that an idle slot was just used."""
        if slot.id in self._idle:
            self._idle.move_to_end(slot.id)

    def release(self, slot: Slot, *, keep: bool) -> None:
        """End a sequence. With `keep` its slot stays until its room is needed."""
        del self._active[slot.id]
        if not keep or not slot.tokens:
            self.dropped.append(slot.id)
            return
        # What the same channel computed before is a beginning of this: one copy is enough.
        for other in [s for s in self._idle.values() if s.channel == slot.channel]:
            if common_prefix(other.tokens, slot.tokens) == len(other.tokens):
                del self._idle[other.id]
                self.dropped.append(other.id)
        self._idle[slot.id] = slot

    def drop_idle(self) -> None:
        """Give up every idle slot: the memory is needed."""
        self.dropped.extend(self._idle)
        self._idle.clear()


def common_prefix(one: list[int], other: list[int]) -> int:
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
