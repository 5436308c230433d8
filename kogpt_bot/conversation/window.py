"""Which messages the model sees: as many as fit, cut in large steps so that prompts stay alike.

A window that lost one message each turn would begin differently each time, and the serving model
could reuse nothing of what it computed before. So the window keeps its start until it is full,
and then drops its older half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def choose_start(
    ids: Sequence[int],
    cost: Callable[[int], int],
    taken: Callable[[int], int],
    room: int,
    *,
    start_id: int | None,
    limit: int,
) -> int:
    """Return the index of the window's first message.

    `ids` are those of the history, oldest first; `limit` is how many messages were asked for.
    `start_id` is the id of the window's first message the last time. `cost(index)` is about how
    many of the `room` tokens a message takes, asked only for the newest that fill the room;
    `taken(index)` is how many a window that starts there takes, exactly. The newest message is
    always inside, also where it alone is too long.
    """
    if not ids:
        return 0
    begin = 0
    if start_id is not None and start_id in ids:
        begin = list(ids).index(start_id)
    elif len(ids) >= limit:  # the old start is out of sight: the window is full
        begin = len(ids) // 2
    newest = len(ids) - 1
    sums = _sums(cost, newest, room)
    if len(ids) - begin <= len(sums) and taken(begin) <= room:
        return begin
    begin = newest - max(sum(1 for each in sums if each <= room // 2) - 1, 0)
    while begin < newest and taken(begin) > room // 2:  # the costs were too low
        begin += (newest - begin) // 8 + 1
    return begin


def _sums(cost: Callable[[int], int], newest: int, room: int) -> list[int]:
    """Return what the newest message, the newest two, ... take, as long as that fits."""
    sums: list[int] = [cost(newest)]
    while len(sums) <= newest and (more := sums[-1] + cost(newest - len(sums))) <= room:
        sums.append(more)
    return sums
