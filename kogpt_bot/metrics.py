"""What the daemon counts: one value, made in `app.py` and handed to who has something to count."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# An answer takes from a fraction of a second (a small model) to the deadline of two minutes.
ANSWER_BUCKETS_S = (0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
CALL_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters and histograms with a registry of their own: two daemons in one process differ."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._messages = Counter(
            "kogpt_bot_messages",
            "Messages that adapters delivered, by what became of them",
            ["adapter", "outcome"],
            registry=self.registry,
        )
        self._turns = Counter(
            "kogpt_bot_turns",
            "Answers that were owed, by the state in which they ended",
            ["adapter", "state"],
            registry=self.registry,
        )
        self._answer_seconds = Histogram(
            "kogpt_bot_answer_seconds",
            "From a message's arrival to the end of its answer",
            ["adapter"],
            buckets=ANSWER_BUCKETS_S,
            registry=self.registry,
        )
        self._calls = Counter(
            "kogpt_bot_platform_calls",
            "Calls to platforms: send, edit, delete, typing, draft",
            ["adapter", "call", "outcome"],
            registry=self.registry,
        )
        self._call_seconds = Histogram(
            "kogpt_bot_platform_call_seconds",
            "How long calls to platforms took",
            ["adapter", "call"],
            buckets=CALL_BUCKETS_S,
            registry=self.registry,
        )
        self._adapter_restarts = Counter(
            "kogpt_bot_adapter_restarts",
            "How often an adapter failed and was started again",
            ["adapter"],
            registry=self.registry,
        )
        self._profanity = Counter(
            "kogpt_bot_profanity_hits",
            "Profanity that was found: in an answer, a message or a name, and what became of it",
            ["adapter", "direction", "outcome"],
            registry=self.registry,
        )
        self._reloads = Counter(
            "kogpt_bot_reloads",
            "Reloads of the configuration: applied, unchanged or refused",
            ["result"],
            registry=self.registry,
        )

        self._loop_late = Gauge(
            "kogpt_bot_event_loop_late_seconds",
            "How late the event loop turned when it was last looked at",
            registry=self.registry,
        )

    def message(self, adapter: str, outcome: str) -> None:
        """Count a message: `answered`, `heard`, `refused` or `failed`."""
        self._messages.labels(adapter, outcome).inc()

    def turn_ended(self, adapter: str, state: str, seconds: float) -> None:
        """Count an answer that came to its end, `seconds` after its message."""
        self._turns.labels(adapter, state).inc()
        if state == "replied":
            self._answer_seconds.labels(adapter).observe(max(0.0, seconds))

    def platform_call(self, adapter: str, call: str, outcome: str, seconds: float) -> None:
        """Count a call to a platform; `outcome` is `ok` or what was raised."""
        self._calls.labels(adapter, call, outcome).inc()
        self._call_seconds.labels(adapter, call).observe(seconds)

    def adapter_restarted(self, adapter: str) -> None:
        """Count a new start of an adapter that failed."""
        self._adapter_restarts.labels(adapter).inc()

    def profanity_found(self, adapter: str, direction: str, outcome: str) -> None:
        """Count a hit of the profanity log."""
        self._profanity.labels(adapter, direction, outcome).inc()

    def reloaded(self, result: str) -> None:
        """Count a reload: `applied`, `unchanged` or `refused`."""
        self._reloads.labels(result).inc()

    def loop_late(self, seconds: float) -> None:
        """Note how late the event loop turned."""
        self._loop_late.set(max(0.0, seconds))
