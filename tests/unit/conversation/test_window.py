"""The window's start: kept until the window is full, then moved by half."""

from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.conversation.window import choose_start

ROOM = 100
costs_of_a_chat = st.lists(st.integers(1, 20), min_size=1, max_size=200)


def walk(costs, *, limit=1000, room=ROOM, overhead=0):
    """Let a chat grow message by message; yield ids in sight, the start, and what it takes."""
    start_id = None
    for count in range(1, len(costs) + 1):
        ids = list(range(count))[-limit:]

        def exact(index, ids=ids):
            return sum(costs[each] + overhead for each in ids[index:])

        start = choose_start(
            ids,
            lambda index, ids=ids: costs[ids[index]],
            exact,
            room,
            start_id=start_id,
            limit=limit,
        )
        start_id = ids[start]
        yield ids, start_id, exact(start)


@given(costs=costs_of_a_chat)
def test_what_is_chosen_fits_and_is_never_less_than_half_when_cut(costs):
    starts = []
    for ids, start, taken in walk(costs):
        assert taken <= ROOM
        if starts and start != starts[-1]:
            assert start > starts[-1]
            before = costs[start - 1]
            assert taken + before > ROOM // 2 or start == ids[-1]
        starts.append(start)


@given(costs=costs_of_a_chat)
def test_over_a_long_chat_the_start_moves_once_per_half_window(costs):
    """Each move is paid for by at least half a window of new messages, less one message."""
    starts = {start for _, start, _ in walk(costs)}
    assert len(starts) <= 1 + sum(costs) / (ROOM / 2 - 20)


def test_costs_that_are_too_low_still_move_it_in_large_steps():
    """A chat template adds tokens to each message that the costs do not know of."""
    walked = list(walk([4] * 300, overhead=6))
    assert all(taken <= ROOM for _, _, taken in walked)
    assert len({start for _, start, _ in walked}) <= 300 / 4  # ten fit, five remain


def test_the_newest_is_in_the_window_even_alone_too_long():
    assert [start for _, start, _ in walk([5, 5, 500, 5])] == [0, 0, 2, 3]


def test_a_start_that_is_out_of_sight_moves_to_the_middle():
    starts = [start for _, start, _ in walk([1] * 60, limit=20)]
    assert starts[18:21] == [0, 0, 11]
    assert len(set(starts)) == 5


def test_only_as_much_is_counted_as_fills_the_room():
    asked = []

    def cost(index):
        asked.append(index)
        return 10

    choose_start(range(1000), cost, lambda _: 0, ROOM, start_id=None, limit=2000)
    assert min(asked) >= 988


def test_without_a_history_there_is_no_start():
    assert choose_start([], lambda _: 1, lambda _: 1, 1, start_id=3, limit=1) == 0
