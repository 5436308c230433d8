"""Which messages the model sees: as many as fit, cut in large steps so that prompts stay alike.

A window that lost one message each turn would begin differently each time, and the serving model
could reuse nothing of what it computed before. So the window keeps its start until it is full,
and then drops its older half.
"""

from __future__ import annotations

from collections.abc import Sequence


def choose_start(
    ids: Sequence[int], costs: Sequence[int], budget: int, start_id: int | None, limit: int
) -> int:
    """Return the index of the window's first message.

    `ids` and `costs` (tokens) are those of the history, oldest first; `limit` is how many
    messages were asked for. `start_id` is the id of the window's first message the last time. The
    newest message is always inside, also where it alone exceeds `budget`.
    """
    if not ids:
        return 0
    begin = 0
    if start_id is not None and start_id in ids:
        begin = list(ids).index(start_id)
    elif len(ids) >= limit:  # the old start is out of sight: the window is full
        begin = len(ids) // 2
    if sum(costs[begin:]) <= budget:
        return begin
    begin, room = len(ids) - 1, budget // 2 - costs[-1]
    while begin > 0 and costs[begin - 1] <= room:
        begin -= 1
        room -= costs[begin]
    return begin
