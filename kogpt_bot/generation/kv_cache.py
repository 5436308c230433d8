"""The KV cache's bookkeeping: blocks of tokens in a prefix tree, shared, counted, given up in turn.

Pure Python: what moves is told as `Move`s, which `kv_store.py` carries out on tensors. A block
holds the keys and values of BLOCK tokens. A node of the tree is one block, and its path from the
root is all that stands before it: two prompts that begin alike share their first nodes, whoever
computed them. A running sequence counts as a reference to each node of its path; nodes without
references stay until their room is needed, the least recently used leaf first, and then move to
host memory where there is a second tier.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence

from kogpt_bot.generation.extents import Extents
from kogpt_bot.generation.kv_blocks import (
    BLOCK,
    CacheCounts,
    Entry,
    Lease,
    Match,
    Move,
    Node,
    Tier,
    blocks_of,
    common_prefix,
)
from kogpt_bot.generation.scores import Scores


class KVCache:
    """`blocks` on the device and `host_blocks` in host memory, for every sequence together."""

    def __init__(self, blocks: int, host_blocks: int = 0) -> None:
        self.blocks, self.host_blocks = blocks, host_blocks
        self.moves: list[Move] = []  # the engine carries them out and empties the list
        self.counts = CacheCounts()
        self.idle = 0  # nodes on the device that no sequence refers to
        self.shared = 0  # nodes that several do
        self.score_bytes = 0  # of all nodes: at most BLOCK * (4 + 8 * alternatives) each
        self._free = Extents(blocks)
        self._host_free = Extents(host_blocks)
        self._roots: dict[str, Node] = {}
        self._ticks = itertools.count(1)
        self._order = itertools.count()  # so that a heap never compares nodes
        self._leaves: list[Entry] = []  # idle leaves by use; old entries are stale
        self._host_leaves: list[Entry] = []

    @property
    def free(self) -> int:
        """Blocks that hold nothing."""
        return self._free.free

    @property
    def used(self) -> int:
        """Blocks that running sequences hold."""
        return self.blocks - self.free - self.idle

    @property
    def host_used(self) -> int:
        """Blocks in host memory."""
        return self.host_blocks - self._host_free.free

    def free_runs(self) -> list[tuple[int, int]]:
        """Return the free blocks as (begin, length)."""
        return self._free.runs()

    def match(
        self, prompt: Sequence[int], salt: str = "", alternatives: int | None = None
    ) -> Match:
        """Return what the tree has of a prompt, its last token excepted: its logits are wanted.

        With `alternatives` the prompt is scored: only what has scores counts, and its last token
        is excepted too.
        """
        node, path, at = self._roots.get(salt), [], 0
        last = len(prompt) - (alternatives is None)
        while node is not None and at + BLOCK <= last:
            child = node.children.get(tuple(prompt[at : at + BLOCK]))
            if child is None or child.serves(alternatives) < BLOCK:
                break
            path.append(child)
            node, at = child, at + BLOCK
        partial, tail = None, 0
        rest = tuple(prompt[at : min(at + BLOCK, last)])
        for child in node.children.values() if node is not None and rest else ():
            shared = min(common_prefix(child.tokens, rest), child.serves(alternatives))
            if shared > tail:
                partial, tail = child, shared
        if alternatives is not None:
            if tail < 2:  # tokens: one of them is computed again
                partial, tail = (path.pop(), BLOCK) if path else (None, 1)
            tail -= 1
        return Match(tuple(path), partial, tail, alternatives)

    def can_admit(self, match: Match, tokens: int) -> bool:
        """Whether a sequence of at most `tokens` tokens fits now, idle blocks given up for it."""
        here = [node for node in match.path if node.block is not None]
        kept = sum(node.refs == 0 for node in here)
        tail = match.partial
        kept += tail is not None and tail.block is not None and tail.refs == 0
        return blocks_of(tokens) - len(here) <= self.free + self.idle - kept

    def admit(self, match: Match, tokens: int, salt: str = "") -> Lease:
        """Return the room for a sequence; the caller has asked `can_admit` with this match."""
        root = self._roots.setdefault(salt, Node((), None, salt=salt))
        root.refs += 1
        held = [*match.path, *([match.partial] if match.partial is not None else [])]
        for node in held:  # first of all, so that making room does not take them
            self._hold(node)
        absent = [node for node in match.path if node.block is None]
        taken = self._take_over(match)
        count = blocks_of(tokens) - len(match.path) + len(absent) - len(taken)
        after = taken[0] if taken else match.path[-1].block if match.path else None
        self._make_room(count)
        fresh = self._free.take(count, after)
        for node, block in zip(absent, fresh[: len(absent)], strict=True):
            self._move_in(node, block)
        own = taken + fresh[len(absent) :]
        if match.partial is not None and not taken:
            self._copy(match.partial, own[0], match.tail)
            self._let_go(match.partial)
        table = [node.block for node in match.path if node.block is not None] + own
        return Lease(table, list(match.path), root, match.tokens, match.scores())

    def _take_over(self, match: Match) -> list[int]:
        """Return the block of a tail that is all wanted and nobody else's: it goes on growing."""
        node = match.partial
        if node is None or node.parent is None or node.block is None:
            return []
        if node.refs > 1 or match.tail < len(node.tokens) or len(node.tokens) == BLOCK:
            return []
        block, node.block, node.refs = node.block, None, 0
        self._score(node, None)
        node.parent.on_device -= 1
        del node.parent.children[node.tokens]
        return [block]

    def advance(self, lease: Lease, tokens: Sequence[int]) -> None:
        """Put the blocks that `tokens`, all that is computed of a sequence, fill into the tree."""
        for at in range(len(lease.path), len(tokens) // BLOCK):
            content = tuple(tokens[at * BLOCK : (at + 1) * BLOCK])
            self._append(lease, content)

    def release(self, lease: Lease, tokens: Sequence[int], *, keep: bool) -> None:
        """End a sequence of which `tokens` are computed. With `keep` others may use them."""
        if keep:
            self.advance(lease, tokens)
            whole = len(lease.path) * BLOCK
            rest = tuple(tokens[whole:])
            siblings = (lease.path[-1] if lease.path else lease.root).children
            if rest and not any(key[: len(rest)] == rest for key in siblings):
                self._append(lease, rest)
        in_tree = {node.block for node in lease.path}
        self._free.give([block for block in lease.table if block not in in_tree])
        for node in reversed(lease.path):
            self._let_go(node)
            if not keep and node.refs == 0 and not node.children:
                self._remove(node)  # what a failed sequence alone computed is not trusted
        lease.root.refs -= 1
        self._tidy(lease.root)

    def drop_idle(self) -> None:
        """Give up every block that no sequence refers to, on the host too: memory is short."""
        while (node := self._oldest_leaf()) is not None:
            self._drop(node)
        while (node := self._oldest_host_leaf()) is not None:
            self._remove(node)

    # --- the tree -------------------------------------------------------------------------------

    def _append(self, lease: Lease, content: tuple[int, ...]) -> None:
        """Let what a sequence holds of the tree grow by a node, and keep its scores with it."""
        at = len(lease.path)
        node = self._insert(lease, content, lease.table[at])
        lease.path.append(node)
        if lease.scores is None:
            return
        new = Scores(lease.scores.width)
        new.extend(lease.scores, at * BLOCK, at * BLOCK + len(content))
        old = (0, 0) if node.scores is None else (len(node.scores), node.scores.width)
        if (len(new), new.width) > old:
            self._score(node, new)

    def _score(self, node: Node, scores: Scores | None) -> None:
        self.score_bytes += scores.size if scores is not None else 0
        self.score_bytes -= node.scores.size if node.scores is not None else 0
        node.scores = scores

    def _insert(self, lease: Lease, content: tuple[int, ...], block: int) -> Node:
        """Return the node of a content, made with this block unless another sequence was first."""
        parent = lease.path[-1] if lease.path else lease.root
        node = parent.children.get(content)
        if node is None:
            node = parent.children[content] = Node(content, parent)
        elif node.block is not None:
            self._hold(node)
            return node
        else:  # it is on the host: what was computed again is as good
            self._forget_host(node)
        self._place(node, block)
        self._hold(node)
        for key, other in list(parent.children.items()):
            beginning = len(key) < len(content) and content[: len(key)] == key
            if beginning and other.refs == 0 and not other.children:
                self._remove(other)  # all that it has, the new node has too
        return node

    def _place(self, node: Node, block: int) -> None:
        node.block = block
        self.idle += 1  # until it is held
        if node.parent is not None:
            node.parent.on_device += 1

    def _hold(self, node: Node) -> None:
        self.idle -= node.refs == 0 and node.block is not None
        self.shared += node.refs == 1
        node.refs += 1
        node.used = next(self._ticks)

    def _let_go(self, node: Node) -> None:
        self.shared -= node.refs == 2
        node.refs -= 1
        node.used = next(self._ticks)
        if node.refs == 0:
            self.idle += node.block is not None
            self._note_leaf(node)

    def _remove(self, node: Node) -> None:
        """Take a node without references or children out of the tree."""
        if node.block is not None:
            self._unplace(node)
        self._forget_host(node)
        self._score(node, None)
        if node.parent is not None:
            del node.parent.children[node.tokens]
            self._note_leaf(node.parent)
            self._tidy(node.parent)

    def _tidy(self, root: Node) -> None:
        if root.parent is None and not root.refs and not root.children:
            self._roots.pop(root.salt, None)

    def _unplace(self, node: Node) -> None:
        if node.block is not None:
            self._free.give([node.block])
            self.idle -= 1
        node.block = None
        if node.parent is not None:
            node.parent.on_device -= 1
            self._note_leaf(node.parent)

    def _forget_host(self, node: Node) -> None:
        if node.host is not None:
            self._host_free.give([node.host])
            node.host = None

    # --- giving up ------------------------------------------------------------------------------

    def _make_room(self, count: int) -> None:
        while self.free < count:
            node = self._oldest_leaf()
            if node is None:
                raise ValueError(f"no room for {count} blocks; ask can_admit first")
            self.counts.evictions += 1
            if len(node.tokens) < BLOCK or not self._move_out(node):
                self._drop(node)

    def _drop(self, node: Node) -> None:
        """Forget an idle leaf of the device, and what lies below it on the host."""
        for below in _below(node):
            self._remove(below)
        self._remove(node)

    def _move_out(self, node: Node) -> bool:
        """Move an idle leaf to the host, where there is room for it or can be made."""
        if not self._host_free.free:
            oldest = self._oldest_host_leaf()
            if oldest is None:
                return False
            self._remove(oldest)
        if node.block is None:
            return False
        node.host = self._host_free.take(1)[0]
        self.moves.append(Move(Tier.OUT, node.block, node.host, len(node.tokens)))
        self._unplace(node)
        self._note_leaf(node)
        self.counts.moved_out += 1
        return True

    def _copy(self, node: Node, block: int, tokens: int) -> None:
        """Copy the first tokens of a node, wherever it is, to a block of the device."""
        if node.block is not None:
            self.moves.append(Move(Tier.WITHIN, node.block, block, tokens))
        elif node.host is not None:
            self.moves.append(Move(Tier.IN, node.host, block, tokens))

    def _move_in(self, node: Node, block: int) -> None:
        self._copy(node, block, len(node.tokens))
        self._forget_host(node)
        self._place(node, block)
        self.idle -= 1  # it is held already
        self.counts.moved_in += 1

    def _note_leaf(self, node: Node) -> None:
        """Remember a node that may be given up now."""
        if node.parent is None or node.refs:
            return
        entry = (node.used, next(self._order), node)
        if node.block is not None and not node.on_device:
            heapq.heappush(self._leaves, entry)
        elif node.host is not None and not node.children:
            heapq.heappush(self._host_leaves, entry)
        # Each use makes the older entries of a node stale: they go before they are many.
        if len(self._leaves) > 4 * self.blocks + 64:
            self._leaves = sorted({e[2]: e for e in self._leaves if _is_leaf(e)}.values())
        if len(self._host_leaves) > 4 * self.host_blocks + 64:
            current = {e[2]: e for e in self._host_leaves if _is_host_leaf(e)}
            self._host_leaves = sorted(current.values())

    def _oldest_leaf(self) -> Node | None:
        while self._leaves:
            if _is_leaf(entry := heapq.heappop(self._leaves)):
                return entry[2]
        return None

    def _oldest_host_leaf(self) -> Node | None:
        while self._host_leaves:
            if _is_host_leaf(entry := heapq.heappop(self._host_leaves)):
                return entry[2]
        return None


def _is_leaf(entry: Entry) -> bool:
    """Whether an entry is of the node's last use, and the node can be given up."""
    used, _, node = entry
    return node.used == used and not node.refs and node.block is not None and not node.on_device


def _is_host_leaf(entry: Entry) -> bool:
    used, _, node = entry
    return node.used == used and not node.refs and node.host is not None and not node.children


def _below(node: Node) -> Iterator[Node]:
    """Give all nodes below, children before their parents."""
    for child in list(node.children.values()):
        yield from _below(child)
        yield child
