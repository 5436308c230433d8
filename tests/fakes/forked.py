"""`kogpt-bot` in a process forked from one that has imported it: its start without the imports."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys

IMPORTED = ["kogpt_bot.app", "kogpt_bot.cli", "kogpt_bot.ops.logging"]


class Forked:
    """What tests ask of asyncio's processes."""

    def __init__(self, arguments, *, log, folder, environment):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        given = arguments, log, folder, environment
        self._process = context.Process(target=_run, args=given, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def kill(self):
        self._process.kill()

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self):
        while self.returncode is None:
            await asyncio.sleep(0.002)
        return self.returncode


def _run(arguments, log, folder, environment):
    to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(to, 1)
    os.dup2(to, 2)
    os.chdir(folder)
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    sys.argv[:] = ["kogpt-bot", *arguments]
    from kogpt_bot.cli import main

    main()
