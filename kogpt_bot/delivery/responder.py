"""Answering one turn: settings, history, the model, the platform, and the record of all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.clock import Clock
from kogpt_bot.config import Limits
from kogpt_bot.conversation.manager import (
    HistoryLine,
    ReplyRequest,
    ServingModel,
)
from kogpt_bot.conversation.settings import ChannelSettings
from kogpt_bot.conversation.speakers import Line
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.notices import Notice
from kogpt_bot.delivery.stream import AnswerStream, SendUnknown, offers
from kogpt_bot.errors import (
    AdapterError,
    ConfigurationError,
    GenerationBusy,
    GenerationError,
    GenerationInterrupted,
    GenerationUnavailable,
    ModelError,
    RetryAfter,
    Unreachable,
)
from kogpt_bot.messages import Author, ChannelKey, Outgoing
from kogpt_bot.metrics import Metrics
from kogpt_bot.moderation.answer import ScreenedAnswers, ScreenedReply
from kogpt_bot.store import JsonValue, Store, StoredMessage, Turn, TurnState
from kogpt_bot.store import Reply as ShownReply

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3  # of one turn, restarts of the daemon counted
RETRY_S = 0.25  # before the service is asked again after a break
BOT_ID = "kogpt-bot"


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
        self._adapters = adapters
        self._store = store
        self._book = book
        self._answers = answers
        self._model = model
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._stops: dict[ChannelKey, asyncio.Event] = {}

    def replace_limits(self, limits: Limits) -> None:
        """Take over changed limits; they hold from the next answer on."""
        self._limits = limits

    @property
    def answering(self) -> int:
        """How many answers are being written."""
        return len(self._stops)

    def stop(self, key: ChannelKey) -> bool:
        """End the answer that is being written in a channel; returns whether there was one."""
        event = self._stops.get(key)
        if event is None or event.is_set():
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

    async def answer(self, turn: Turn) -> None:
        """Answer a turn and record how it ended. Raises nothing but what is a fault of ours."""
        if turn.key.adapter not in self._adapters:
            log.warning("turn_waits", turn=turn.id, why=f"{turn.key.adapter} runs no longer")
            return  # it stays open in the store, for when the adapter is back
        turn = await self._store.begin(turn, self._clock.now())
        settings = self._book.effective(turn.key).settings
        if turn.attempts > MAX_ATTEMPTS:
            await self._end(turn, TurnState.DEAD, {"why": "too many attempts"})
            return
        stopped = self._stops[turn.key] = asyncio.Event()
        answer = _Answer(self, turn, settings, stopped)
        try:
            await answer.run()
        finally:
            del self._stops[turn.key]

    async def _end(
        self,
        turn: Turn,
        state: TurnState,
        outcome: Mapping[str, JsonValue],
        reply: ShownReply | None = None,
    ) -> None:
        now = self._clock.now()
        await self._store.finish(turn, state, now, outcome, reply)
        waited = (now - turn.created_at).total_seconds()
        self._metrics.turn_ended(turn.key.adapter, state.value, waited)
        log.info("turn_ended", turn=turn.id, adapter=turn.key.adapter, state=state.value)


class _Answer:
    """One turn on its way."""

    def __init__(
        self, owner: Responder, turn: Turn, settings: ChannelSettings, stopped: asyncio.Event
    ) -> None:
        self._owner = owner
        self._turn = turn
        self._settings = settings
        self._stopped = stopped
        self._persona = owner._book.persona(settings.persona)
        self._adapter = owner._adapters[turn.key.adapter]
        self._deadline = owner._clock.monotonic() + owner._limits.reply_deadline_s
        self._stream = AnswerStream(
            self._adapter,
            turn.key,
            owner._clock,
            reply_to=turn.message.platform_id,
            nonce=f"t{turn.id}",
            speaker=self._persona.name,
            offers=offers(self._adapter.capabilities_in(turn.key), wanted=settings.buttons),
            before_first=self._mark_sending,
        )
        self._reply: ScreenedReply | None = None
        self._breaks = 0  # a message that kills the service each time must not do so forever

    async def run(self) -> None:
        """Try until it is answered, refused, or too late."""
        while True:
            try:
                await self._stream.show(self._deltas(), stream=self._settings.stream)
            except (GenerationUnavailable, GenerationBusy, GenerationInterrupted) as error:
                if self._stream.parts or not await self._try_again(error):
                    await self._failed(error)
                    return
            except (ModelError, ConfigurationError, GenerationError) as error:
                await self._failed(error)
                return
            except AdapterError as error:
                await self._refused(error)
                return
            else:
                await self._finished()
                return

    async def _mark_sending(self) -> None:
        await self._owner._store.mark(self._turn, TurnState.SENDING, self._owner._clock.now())

    async def _deltas(self) -> AsyncIterator[str]:
        """Give the answer's text; ends early when somebody stops it."""
        left = max(self._deadline - self._owner._clock.monotonic(), 0.1)
        waiting = asyncio.ensure_future(self._owner._model.get(left))
        try:
            if not await self._unless_stopped(waiting):
                return
            request = await self._request(waiting.result())
        finally:
            waiting.cancel()
        self._reply = self._owner._answers.reply(request)
        pieces = aiter(self._reply)
        try:
            while True:
                following = asyncio.ensure_future(anext(pieces, None))
                try:
                    if not await self._unless_stopped(following):
                        return
                    text = following.result()
                finally:
                    if not following.done():
                        following.cancel()
                        await asyncio.wait([following])
                if text is None:
                    return
                yield text
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    async def _unless_stopped(self, work: asyncio.Future[Any]) -> bool:
        """Wait for `work`; returns False when somebody stopped the answer first."""
        stop = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        return not self._stopped.is_set()

    async def _request(self, model: ServingModel) -> ReplyRequest:
        limit = self._settings.context.max_messages
        past = await self._owner._store.history(self._turn.key, limit)
        own = next((n for n, each in enumerate(past) if each.id == self._turn.message.id), None)
        # What was said after the message belongs to the turns that follow.
        past = past[: own + 1] if own is not None else [self._turn.message]
        return ReplyRequest(
            key=self._turn.key,
            settings=self._settings,
            persona=self._persona,
            history=[HistoryLine(each.id, _line(each)) for each in past],
            model=model,
            priority=self._turn.priority,
        )

    async def _try_again(self, error: GenerationError) -> bool:
        """Wait a moment; returns whether there is time for another try."""
        pause = error.seconds if isinstance(error, GenerationBusy) else RETRY_S
        self._breaks += isinstance(error, GenerationInterrupted)
        late = self._owner._clock.monotonic() + pause >= self._deadline
        if late or self._breaks >= MAX_ATTEMPTS:
            return False
        log.info("turn_tries_again", turn=self._turn.id, why=str(error))
        await self._owner._clock.sleep(pause)
        return True

    async def _finished(self) -> None:
        if not self._stream.parts:
            await self._owner._end(self._turn, TurnState.EXPIRED, {"why": "stopped"})
            return
        state = TurnState.REPLIED
        await self._owner._end(self._turn, state, self._outcome(), self._shown())

    async def _failed(self, error: Exception) -> None:
        """Record why there is no (complete) answer, and say so in the channel."""
        outcome = {**self._outcome(), "error": str(error)}
        if self._stream.parts:
            await self._owner._end(self._turn, TurnState.REPLIED, outcome, self._shown())
            return
        log.warning("turn_failed", turn=self._turn.id, why=str(error))
        broken = isinstance(error, ModelError)
        notice = Notice.MODEL_FAILED if broken else Notice.UNAVAILABLE
        with suppress(AdapterError):
            await self._adapter.send(
                self._turn.key,
                Outgoing(
                    notice.text(self._settings.language),
                    reply_to=self._turn.message.platform_id,
                    nonce=f"t{self._turn.id}.notice",
                    speaker=self._persona.name,
                ),
            )
        await self._owner._end(self._turn, TurnState.EXPIRED, outcome)

    async def _refused(self, error: AdapterError) -> None:
        outcome = {**self._outcome(), "error": f"{type(error).__name__}: {error}"}
        log.warning("answer_not_shown", turn=self._turn.id, why=outcome["error"])
        if self._stream.parts:
            await self._owner._end(self._turn, TurnState.REPLIED, outcome, self._shown())
            return
        states: tuple[tuple[type[AdapterError], TurnState], ...] = (
            (SendUnknown, TurnState.UNKNOWN),
            (RetryAfter, TurnState.EXPIRED),
            (Unreachable, TurnState.EXPIRED),
        )
        state = next((s for kind, s in states if isinstance(error, kind)), TurnState.REFUSED)
        await self._owner._end(self._turn, state, outcome)

    def _shown(self) -> ShownReply:
        parts = tuple((part.message_id, part.text) for part in self._stream.parts)
        author = Author(BOT_ID, self._persona.name, is_bot=True)
        return ShownReply(parts, author, "\n".join(text for _, text in parts))

    def _outcome(self) -> dict[str, JsonValue]:
        if self._reply is None:
            return {}
        outcome = self._reply.outcome
        return {
            "model": outcome.model,
            "prompt_tokens": outcome.prompt_tokens,
            "seed": outcome.seed,
            "finish_reason": "stopped" if self._stopped.is_set() else outcome.finish_reason,
            "attempts": outcome.attempts,
            "fallback": outcome.fallback,
        }


def _line(message: StoredMessage) -> Line:
    return Line(message.author.id, message.author.name, message.text, message.by_this_bot)
