"""The daemon's figures for Prometheus: what was counted, what is now, and the model's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from kogpt_bot import __version__
from kogpt_bot.console.view import ANSWER_S, DaemonView, PartHealth
from kogpt_bot.errors import GenerationError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SERVICE_PREFIXES = ("kogpt_", "vllm:")  # of a service's own figures; its process's are not ours
MAX_SERVICE_BYTES = 1 << 20

Family = CounterMetricFamily | GaugeMetricFamily


class _Now(Collector):
    """What is true at the moment of the question."""

    def __init__(self, view: DaemonView, parts: dict[str, PartHealth]) -> None:
        self._view = view
        self._parts = parts

    def collect(self) -> Iterator[Family]:
        view, parts = self._view, self._parts
        depths = view.lanes.depths
        yield _gauge("up_seconds", "How long the daemon runs", view.uptime_s)
        yield _gauge("waiting_turns", "Answers that wait in all lanes", view.lanes.waiting)
        yield _gauge("answering_turns", "Answers that are being written", view.responder.answering)
        yield _gauge("lanes", "Channels with something to answer", len(depths))
        yield _gauge("deepest_lane", "Turns in the fullest lane", max(depths.values(), default=0))
        yield _gauge("tasks", "Tasks of the event loop", len(asyncio.all_tasks()))
        yield _gauge("store_ready", "Whether the database answers", parts["store"].ready)
        ready = parts["generation"].ready
        yield _gauge("generation_ready", "Whether the model can be asked", ready)
        restarts = view.generation.restarts
        yield _counter("generation_restarts", "New starts of the model after a fault", restarts)
        info = GaugeMetricFamily("kogpt_bot_info", "The version that runs", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield from self._adapters()
        yield from self._log()

    def _adapters(self) -> Iterator[Family]:
        label = ["adapter"]
        ready = GaugeMetricFamily("kogpt_bot_adapter_ready", "Whether it runs", labels=label)
        links = CounterMetricFamily(
            "kogpt_bot_adapter_reconnects", "New connections to the platform", labels=label
        )
        for name, hosted in self._view.adapters.items():
            ready.add_metric([name], hosted.status.ready)
            links.add_metric([name], hosted.status.reconnects)
        yield from (ready, links)

    def _log(self) -> Iterator[Family]:
        pipeline = self._view.pipeline
        if pipeline is None:
            return
        events = CounterMetricFamily("kogpt_bot_log_events", "Logged events", labels=["level"])
        for level in ("debug", "info", "warning", "error", "critical"):
            events.add_metric([level], pipeline.counts[level])
        yield events
        hidden = pipeline.suppressed
        yield _counter("log_events_not_shown", "Events that were one too many", hidden)


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"kogpt_bot_{name}", help_, float(value))


def _counter(name: str, help_: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"kogpt_bot_{name}", help_, float(value))


async def render(view: DaemonView) -> bytes:
    """Return all figures in Prometheus' text format."""
    parts, service = await asyncio.gather(view.parts(), _service(view))
    now = CollectorRegistry()
    now.register(_Now(view, parts))
    ProcessCollector(registry=now)
    return generate_latest(view.metrics.registry) + generate_latest(now) + service


async def _service(view: DaemonView) -> bytes:
    """Return the service's own figures; nothing where it gives none in time."""
    try:
        async with asyncio.timeout(ANSWER_S):
            text = await view.generation.client.metrics()
    except (GenerationError, TimeoutError):
        return b""
    lines = text[:MAX_SERVICE_BYTES].splitlines()
    return "".join(f"{line}\n" for line in lines if _is_figure(line)).encode()


def _is_figure(line: str) -> bool:
    """Whether a line tells of a figure of the model: `name{...} 1`, `# HELP name ...`."""
    name = line.split(" ")[2] if line.startswith("# ") and line.count(" ") > 1 else line
    return name.startswith(SERVICE_PREFIXES) and not name.startswith("kogpt_bot_")
