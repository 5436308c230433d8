"""Answering turns: what the lanes run, and what can be asked of an answer that is being written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.clock import Clock
from kogpt_bot.config import Limits
from kogpt_bot.conversation.manager import ServingModel
from kogpt_bot.conversation.settings import ChannelSettings
from kogpt_bot.delivery.answer import Answer
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.lanes import Job
from kogpt_bot.delivery.limits import OncePerMinute
from kogpt_bot.delivery.notices import Notice
from kogpt_bot.delivery.outbox import Gates
from kogpt_bot.delivery.persist import insist
from kogpt_bot.errors import AdapterError, TurnGone
from kogpt_bot.messages import ChannelKey, Outgoing
from kogpt_bot.metrics import Metrics
from kogpt_bot.moderation.answer import ScreenedAnswers
from kogpt_bot.store import JsonValue, Store, StoredMessage, Turn, TurnState
from kogpt_bot.store import Reply as ShownReply

log = structlog.get_logger(__name__)


class ModelSource(Protocol):
    """Where the serving model's name, context and tokenizer come from."""

    async def get(self, timeout_s: float) -> ServingModel:
        """Return them; GenerationUnavailable when the service is not ready in time, ModelError
        when it never will be."""
        ...


class Responder:
    """Answers turns; `answer` is what the lanes run."""

    def __init__(
        self,
        adapters: Mapping[str, Adapter],
        store: Store,
        book: ChannelBook,
        answers: ScreenedAnswers,
        model: ModelSource,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.book = book
        self.answers = answers
        self.model = model
        self.limits = limits
        self.clock = clock
        self.gates = Gates()
        self._adapters = adapters
        self._metrics = metrics
        self._stops: dict[ChannelKey, tuple[int, asyncio.Event]] = {}
        self._late_notices: OncePerMinute[ChannelKey] = OncePerMinute(clock)

    def replace_limits(self, limits: Limits) -> None:
        """Take over changed limits; they hold from the next answer on."""
        self.limits = limits

    @property
    def answering(self) -> int:
        """How many answers are being written."""
        return len(self._stops)

    def stop(self, key: ChannelKey, turn_id: int | None = None) -> bool:
        """End the answer that is being written in a channel; returns whether there was one.

        With `turn_id`, only the answer of that turn.
        """
        writing, event = self._stops.get(key, (None, None))
        if event is None or event.is_set() or turn_id not in (None, writing):
            return False
        event.set()
        return True

    async def remove(self, reply: StoredMessage) -> None:
        """Take an answer off the screen, where the platform can."""
        adapter = self._adapters.get(reply.key.adapter)
        if adapter is None or not adapter.capabilities.deletes:
            return
        for message_id in reply.platform_ids:
            with suppress(AdapterError):
                await adapter.delete(reply.key, message_id)

    async def answer(self, job: Job) -> None:
        """Answer a turn and record how it ended. Raises nothing but what is a fault of ours."""
        adapter = self._adapters.get(job.turn.key.adapter)
        if adapter is None:
            log.warning(
                "turn_waits", turn=job.turn.id, why=f"{job.turn.key.adapter} runs no longer"
            )
            return  # it stays open in the store, for when the adapter is back
        with suppress(TurnGone):  # joined to a later one, erased, or taken by another process
            turn = await insist(self.clock, lambda: self.store.begin(job.turn, self.clock.now()))
            stopped = asyncio.Event()
            self._stops[turn.key] = (turn.id, stopped)
            try:
                await Answer(self, adapter, turn, job.received_at, stopped).run()
            finally:
                del self._stops[turn.key]

    async def end(
        self,
        turn: Turn,
        state: TurnState,
        outcome: Mapping[str, JsonValue],
        reply: ShownReply | None = None,
    ) -> None:
        """Record how a turn ended."""
        now = self.clock.now()
        await insist(self.clock, lambda: self.store.finish(turn, state, now, outcome, reply))
        waited = (now - turn.created_at).total_seconds()
        self._metrics.turn_ended(turn.key.adapter, state.value, waited)
        log.info("turn_ended", turn=turn.id, adapter=turn.key.adapter, state=state.value)

    async def notify(self, turn: Turn, notice: Notice, settings: ChannelSettings) -> None:
        """Say in the channel why there is no answer.

        The turn has ended by then, so that a crash shows the notice once or not at all. After a
        long absence, each channel is told once that its answers come too late.
        """
        if notice is Notice.LATE and not self._late_notices.due(turn.key):
            return
        message = Outgoing(
            notice.text(settings.language),
            reply_to=turn.message.platform_id,
            nonce=f"n{turn.id}-{int(turn.created_at.timestamp()):x}",
            speaker=self.book.persona(settings.persona).name,
        )
        adapter = self._adapters.get(turn.key.adapter)
        if adapter is not None:
            with suppress(AdapterError):
                await adapter.send(turn.key, message)
