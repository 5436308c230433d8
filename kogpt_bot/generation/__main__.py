"""The child process of the daemon: `python -m kogpt_bot.generation SOCKET PARENT OPTIONS`."""

from __future__ import annotations

import asyncio
import os
import sys

from kogpt_bot.errors import KogptBotError
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.serve import serve, unix_listener
from kogpt_bot.ops import logging as logs


def main(arguments: list[str]) -> int:
    """Serve on a Unix socket; the last line on standard error says why it ended, if it failed."""
    path, parent, options = arguments
    logs.configure(os.environ.get("KOGPT_BOT_LOG_LEVEL", "INFO"), "json")
    try:
        asyncio.run(
            serve(ServiceOptions.from_json(options), unix_listener(path), parent=int(parent))
        )
    except KogptBotError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201  # read by the parent
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
