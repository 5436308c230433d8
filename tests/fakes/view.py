"""A daemon to look at, none of whose parts runs."""

from __future__ import annotations

from kogpt_bot import Connection
from kogpt_bot.clock import SystemClock
from kogpt_bot.config import GenerationSettings, Settings
from kogpt_bot.console import figures
from kogpt_bot.console.view import DaemonView
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.errors import GenerationUnavailable, StoreError
from kogpt_bot.metrics import Metrics
from kogpt_bot.ops.adapters import AdapterHost
from kogpt_bot.ops.logging import Pipeline
from kogpt_bot.ops.logging.redact import Redactor
from kogpt_bot.ops.notify import Notifier
from kogpt_bot.ops.reload import Reloader
from kogpt_bot.testing import FakeAdapter, RecordingInbox


class Linked(FakeAdapter):
    """A platform that tells of its connection."""

    link = Connection(True, reconnects=3)

    def connection(self):
        return self.link


class FakeStore:
    """Answers, until `error` is set."""

    error: str = ""

    async def check(self):
        if self.error:
            raise StoreError(self.error)


class FakeClient:
    """A service that is not there."""

    async def health(self):
        raise GenerationUnavailable("connection refused")

    async def metrics(self):
        raise GenerationUnavailable("connection refused")


class FakeGeneration:
    supervisor = None
    restarts = 2
    client = FakeClient()


class FakeResponder:
    answering = 1


async def nothing(_):
    pass


async def _apply(_old, _new):
    pass


def make_view():
    """Return a view, with the fakes behind it."""
    clock, metrics = SystemClock(), Metrics()
    host = AdapterHost({"fake": Linked()}, clock, metrics)
    settings = Settings(generation=GenerationSettings(url="http://127.0.0.1:9"))
    reloader = Reloader(
        settings, lambda: settings, _apply, clock=clock, metrics=metrics, notifier=Notifier()
    )
    lanes = Lanes(nothing, clock, per_channel=8, total=256, concurrency=8)
    pipeline = Pipeline([], None, Redactor())
    view = DaemonView(
        host.adapters, FakeGeneration(), FakeStore(), lanes, FakeResponder(),
        metrics, reloader, pipeline, clock, clock.monotonic(),
    )  # fmt: skip
    return view, host


async def exported():
    """Return what /metrics gives once everything has happened once."""
    view, host = make_view()
    host.start(RecordingInbox())
    metrics = view.metrics
    metrics.message("fake", "answered")
    metrics.turn_ended("fake", "replied", 1.0)
    metrics.platform_call("fake", "send", "ok", 0.1)
    metrics.adapter_restarted("fake")
    metrics.reloaded("applied")
    try:
        return (await figures.render(view)).decode()
    finally:
        await host.stop()
