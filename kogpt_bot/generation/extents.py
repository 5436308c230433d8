"""Free numbers, handed out in runs: blocks that are neighbours are read in one piece."""

from __future__ import annotations

ROOMY = 4  # a free run of so many times what is wanted is cut in its middle: both sides can grow


class Extents:
    """The free ones among `count` numbers, as disjoint runs; neighbours merge when given back."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._length = {0: count} if count else {}  # begin of a run -> its length
        self._begin = {count: 0} if count else {}  # end of a run (exclusive) -> its begin

    def take(self, count: int, after: int | None = None) -> list[int]:
        """Return `count` numbers in as few runs as is easy, `after` + 1 first where it is free.

        What is taken will want to grow (`after`), so it comes from the middle of the longest run
        while there is plenty; then from the smallest run that holds all, else from the longest
        ones. ValueError when there are not so many.
        """
        if count > self.free:
            raise ValueError(f"{count} wanted, {self.free} free")
        taken: list[int] = []
        if after is not None and count and after + 1 in self._length:
            taken += self._cut(after + 1, count)
        while len(taken) < count:
            wanted = count - len(taken)
            length, begin = max((n, b) for b, n in self._length.items())
            if length >= ROOMY * wanted:
                taken += self._cut(begin, wanted, length // 2)
                continue
            if fitting := [(n, b) for b, n in self._length.items() if n >= wanted]:
                _, begin = min(fitting)
            taken += self._cut(begin, wanted)
        return taken

    def give(self, numbers: list[int]) -> None:
        """Take numbers back."""
        for number in numbers:
            begin, end = number, number + 1
            if number in self._begin:  # a run ends here
                begin = self._begin.pop(number)
                del self._length[begin]
            if end in self._length:
                end += self._length.pop(end)
                del self._begin[end]
            self._length[begin], self._begin[end] = end - begin, begin
            self.free += 1

    def runs(self) -> list[tuple[int, int]]:
        """Return what is free as (begin, length)."""
        return sorted(self._length.items())

    def _cut(self, begin: int, count: int, offset: int = 0) -> list[int]:
        """Take up to `count` numbers out of the run that begins at `begin`."""
        end = begin + self._length.pop(begin)
        del self._begin[end]
        low = begin + offset
        high = min(low + count, end)
        for first, last in ((begin, low), (high, end)):
            if first < last:
                self._length[first], self._begin[last] = last - first, first
        self.free -= high - low
        return list(range(low, high))


def runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return numbers as (begin, length) of their runs, in their order."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and sum(found[-1]) == number:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((number, 1))
    return found
