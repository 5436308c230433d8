"""One instance per token on this machine: two would take each other's messages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
from platformdirs import user_state_path

from kogpt_bot import Secret, hold_file

log = structlog.get_logger(__name__)


@contextmanager
def only_instance(token: Secret) -> Iterator[None]:
    """Hold the token, by its hash; AlreadyRunning where another process of this user does.

    Where the state folder cannot be written, there is no lock: Telegram then says 409 to both.
    """
    name = hashlib.sha256(token.reveal().encode()).hexdigest()[:24]
    file = user_state_path("kogpt-bot") / "locks" / f"telegram-{name}.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_file(file, _refusal))
        except OSError as error:
            log.warning("no_lock", folder=str(file.parent), why=error.strerror)
        yield


def _refusal(process: str) -> str:
    return (
        f"another kogpt-bot (process {process}) on this machine uses this Telegram bot's token; "
        "end it, or give this one a bot of its own"
    )
