"""The engine's figures for Prometheus, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from kogpt_bot.generation.engine_port import EnginePort

Metric = CounterMetricFamily | GaugeMetricFamily


class _EngineFigures(Collector):
    def __init__(self, engine: EnginePort | None) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "kogpt_ready", "Whether the model is loaded", self._engine is not None
        )
        if self._engine is None:
            return
        stats = self._engine.stats()
        gauges = {
            "running_requests": ("Requests that are being answered", stats.running),
            "waiting_requests": ("Requests that wait", stats.waiting),
            "cache_tokens": ("Tokens in the KV cache", stats.cache_tokens),
            "cache_capacity_tokens": ("Tokens that the KV cache can hold", stats.cache_capacity),
        }
        counters = {
            "steps": ("Steps of the engine", stats.steps),
            "prefill_tokens": ("Prompt tokens that were computed", stats.prefilled),
            "reused_tokens": ("Prompt tokens that the KV cache had", stats.reused),
            "generated_tokens": ("Tokens that were generated", stats.generated),
        }
        for name, (help_, value) in gauges.items():
            yield GaugeMetricFamily(f"kogpt_{name}", help_, value)
        for name, (help_, value) in counters.items():
            yield CounterMetricFamily(f"kogpt_{name}", help_, value)


def render(engine: EnginePort | None) -> bytes:
    """Return the figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_EngineFigures(engine))
    return generate_latest(registry)
