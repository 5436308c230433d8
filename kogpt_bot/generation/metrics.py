"""The engine's figures for Prometheus, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from kogpt_bot.generation.engine_port import EnginePort
from kogpt_bot.generation.figures import EngineStats

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

GAUGES = {  # field of EngineStats -> name, what it says
    "running": ("running_requests", "Requests that are being answered"),
    "waiting": ("waiting_requests", "Requests that wait"),
    "cache_tokens": ("cache_tokens", "Tokens in the KV cache"),
    "cache_capacity": ("cache_capacity_tokens", "Tokens that the KV cache can hold"),
    "blocks": ("cache_blocks", "Blocks of the KV cache"),
    "blocks_used": ("cache_blocks_used", "Blocks that requests hold"),
    "blocks_idle": ("cache_blocks_idle", "Blocks kept for requests to come"),
    "blocks_shared": ("cache_blocks_shared", "Blocks that several requests hold at once"),
    "host_blocks": ("cache_host_blocks", "Blocks that fit in host memory"),
    "host_blocks_used": ("cache_host_blocks_used", "Blocks in host memory"),
    "score_bytes": ("cache_score_bytes", "Log-probabilities kept beside the blocks"),
    "prefill_rate": ("prefill_tokens_per_second", "Prompt tokens a second, lately"),
    "decode_rate": ("decode_tokens_per_second", "Generated tokens a second, lately"),
    "memory": ("memory_bytes", "Memory of the process"),
    "device_memory": ("device_memory_bytes", "Memory on the GPUs"),
}
COUNTERS = {
    "steps": ("steps", "Steps of the engine"),
    "step_seconds": ("step_seconds", "Seconds in steps"),
    "prefilled": ("prefill_tokens", "Prompt tokens that were computed"),
    "reused": ("reused_tokens", "Prompt tokens that the KV cache had"),
    "generated": ("generated_tokens", "Tokens that were generated"),
    "evictions": ("cache_evictions", "Blocks given up for others"),
    "moved_out": ("cache_moved_out", "Blocks moved to host memory"),
    "moved_in": ("cache_moved_in", "Blocks moved back"),
    "failed": ("failed_requests", "Requests whose computation failed"),
    "expired": ("expired_requests", "Requests whose deadline passed"),
}
HISTOGRAMS = {
    "batch_size": ("batch_size", "Requests in a step"),
    "queue_wait": ("queue_wait_seconds", "From a request's arrival to its admission"),
    "first_token": ("first_token_seconds", "From a request's arrival to its first token"),
    "token_gap": ("token_gap_seconds", "Between two tokens of a request"),
}


class _EngineFigures(Collector):
    def __init__(self, engine: EnginePort | None) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats() if self._engine is not None else None
        ready = stats is not None and stats.alive
        yield GaugeMetricFamily("kogpt_ready", "Whether the model is loaded and goes on", ready)
        if stats is None:
            return
        for field, (name, what) in GAUGES.items():
            yield GaugeMetricFamily(f"kogpt_{name}", what, getattr(stats, field))
        for field, (name, what) in COUNTERS.items():
            yield CounterMetricFamily(f"kogpt_{name}", what, getattr(stats, field))
        for field, (name, what) in HISTOGRAMS.items():
            found = getattr(stats, field)
            yield HistogramMetricFamily(f"kogpt_{name}", what, found.buckets, found.total)
        yield GaugeMetricFamily("kogpt_cache_hit_ratio", "Prompt tokens reused", _hits(stats))


def _hits(stats: EngineStats) -> float:
    """Return the share of all prompt tokens that the cache had."""
    asked = stats.reused + stats.prefilled
    return stats.reused / asked if asked else 0.0


def render(engine: EnginePort | None) -> bytes:
    """Return the figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_EngineFigures(engine))
    return generate_latest(registry)
