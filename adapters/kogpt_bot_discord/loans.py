"""Speaking where the bot is no member: by the leave that somebody's command gave it.

A command that a person installed for themselves works in channels in which the bot may not
write. Its interaction carries a token with which the bot may answer there for fifteen minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LASTS_S = 14.5 * 60  # of Discord's fifteen minutes
MAX_LOANS = 2000


@dataclass(slots=True)
class Loan:
    """The leave to answer one interaction. `deferred`: its first answer is still announced."""

    token: str
    until: float
    deferred: bool


class Loans:
    """The newest leave of each channel, and the one that each message was sent by."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._by_channel: OrderedDict[str, Loan] = OrderedDict()
        self._by_message: OrderedDict[str, Loan] = OrderedDict()

    def lend(self, channel: str, token: str, *, deferred: bool, message_id: str = "") -> None:
        """Note a leave for a channel; `message_id` is what its button was under."""
        loan = Loan(token, self._monotonic() + LASTS_S, deferred)
        _put(self._by_channel, channel, loan)
        if message_id:
            _put(self._by_message, message_id, loan)

    def in_channel(self, channel: str) -> Loan | None:
        """Return the leave to speak in a channel, where there is one."""
        return self._valid(self._by_channel, channel)

    def of_message(self, message_id: str) -> Loan | None:
        """Return the leave to change a message."""
        return self._valid(self._by_message, message_id)

    def sent(self, message_id: str, loan: Loan) -> None:
        """Note by which leave a message was sent."""
        _put(self._by_message, message_id, loan)

    def _valid(self, loans: OrderedDict[str, Loan], key: str) -> Loan | None:
        loan = loans.get(key)
        if loan is not None and loan.until < self._monotonic():
            del loans[key]
            return None
        return loan


def _put(loans: OrderedDict[str, Loan], key: str, loan: Loan) -> None:
    loans.pop(key, None)
    loans[key] = loan
    if len(loans) > MAX_LOANS:
        loans.popitem(last=False)
