"""Every error of kogpt-bot, the tree first.

KogptBotError
├── ConfigurationError          fatal: exit 78, shown as `file:line:column key: ...`
├── ModelError                  fatal: exit 78, no restart loop (a missing file, a wrong shape)
├── StoreError                  the database cannot be used
│   ├── RowRefused              not retryable: the database works, but does not take this
│   ├── TurnGone                not retryable: the turn has ended, or was erased
│   └── SchemaTooNew            fatal: exit 78, a newer program wrote this database
├── AlreadyRunning              fatal: exit 75, another instance holds the lock
├── NotRunning                  no daemon answers: exit 1
├── AdapterError                a platform said no
│   ├── RetryAfter              retryable after `seconds`
│   │   └── NoneToSpare         ... and it is only this edit of an unfinished answer that has to
│   ├── Unreachable             retryable: network, 5xx
│   │   └── NotSent             ... and the call surely never reached the platform
│   ├── Forbidden               not retryable: the bot may not do this here
│   ├── Gone                    not retryable: the channel or the message no longer exists
│   ├── Malformed               not retryable: the platform refuses this content
│   └── BadCredentials          fatal for this adapter, the others go on
├── GenerationError             the generation service said no
│   ├── GenerationUnavailable   retryable: not there, still loading, restarting
│   ├── GenerationBusy          retryable after `seconds`
│   ├── GenerationOutOfMemory   retryable: others hold the memory now
│   ├── GenerationExpired       not retryable: its deadline has passed
│   ├── GenerationInterrupted   retryable when nothing was shown yet: the stream broke
│   └── GenerationRejected      not retryable: the request itself is wrong
└── Refused                     tell the user: `text` is shown as it stands
"""

from __future__ import annotations

EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h; the supervisor and systemd do not restart on it
EXIT_ALREADY_RUNNING = 75  # EX_TEMPFAIL of sysexits.h


class KogptBotError(Exception):
    """The root of every error that kogpt-bot raises on purpose."""

    exit_code = 1


class ConfigurationError(KogptBotError):
    """The configuration cannot be used; the message has one line per fault."""

    exit_code = EXIT_CONFIGURATION


class ModelError(KogptBotError):
    """The model cannot be loaded as asked; trying again would fail the same way."""

    exit_code = EXIT_CONFIGURATION


class StoreError(KogptBotError):
    """The database cannot be used."""


class RowRefused(StoreError):
    """The database works, but does not take this row."""


class TurnGone(StoreError):
    """The turn has ended, was erased, or belongs to another process by now: leave it alone."""


class SchemaTooNew(StoreError):
    """The database was written by a newer kogpt-bot."""

    exit_code = EXIT_CONFIGURATION


class AlreadyRunning(KogptBotError):
    """Another instance holds what this one needs."""

    exit_code = EXIT_ALREADY_RUNNING


class NotRunning(KogptBotError):
    """There is no daemon to ask."""


class AdapterError(KogptBotError):
    """A platform said no."""


class RetryAfter(AdapterError):
    """The platform asks to wait `seconds` before the same call."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"retry after {seconds:g} s")
        self.seconds = seconds


class NoneToSpare(RetryAfter):
    """An edit of an unfinished answer is left out, for what matters more: that may go at once."""


class Unreachable(AdapterError):
    """The platform cannot be reached or failed on its side; the call may be tried again."""


class NotSent(Unreachable):
    """The call never left: no connection was had. It may be repeated on any platform."""


class Forbidden(AdapterError):
    """The bot may not do this in this channel."""


class Gone(AdapterError):
    """The channel or the message no longer exists."""


class Malformed(AdapterError):
    """The platform refuses this content, whoever sends it."""


class BadCredentials(AdapterError):
    """The platform does not accept the bot's token."""

    exit_code = EXIT_CONFIGURATION


class GenerationError(KogptBotError):
    """The generation service said no; it may have said after how many `seconds` to ask again."""

    seconds: float | None = None


class GenerationUnavailable(GenerationError):
    """The generation service is not there, still loading, or restarting."""


class GenerationBusy(GenerationError):
    """The generation service's queue is full; try again in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the generation service is busy, retry after {seconds:g} s")
        self.seconds = seconds


class GenerationOutOfMemory(GenerationError):
    """Memory does not suffice for this request beside the others; it may when tried again."""


class GenerationExpired(GenerationError):
    """The request's deadline has passed: nobody waits for the answer any more."""


class GenerationInterrupted(GenerationError):
    """The stream broke before it was finished."""


class GenerationRejected(GenerationError):
    """The generation service refuses the request itself."""


class Refused(KogptBotError):
    """A wish that is refused; `text` tells the person why, in their language."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
