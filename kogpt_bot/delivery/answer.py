"""One turn on its way: settings, history, the model, the platform, and the record of all of it.

What an interrupted attempt has sent is in the outbox, and decides how the next one goes on:

- A message whose sending was interrupted is sent again under its key, where the platform has
  keys and still knows it. Elsewhere nobody knows whether it was shown: the turn ends as unknown.
- An answer of which all was written is finished as it was written.
- One that was still being written is written anew, and what was shown is edited into it; where
  that cannot be done, or comes too late, the turn ends with what was shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.conversation.manager import HistoryLine, Outcome, ReplyRequest, ServingModel
from kogpt_bot.conversation.speakers import Line
from kogpt_bot.delivery.notices import Notice
from kogpt_bot.delivery.outbox import TurnOutbox, repeatable
from kogpt_bot.delivery.persist import insist
from kogpt_bot.delivery.stream import AnswerStream, Part, SendUnknown, offers
from kogpt_bot.errors import (
    AdapterError,
    ConfigurationError,
    GenerationBusy,
    GenerationError,
    GenerationExpired,
    GenerationRejected,
    GenerationUnavailable,
    ModelError,
    RetryAfter,
    RowRefused,
    StoreError,
    TurnGone,
    Unreachable,
)
from kogpt_bot.messages import Author
from kogpt_bot.moderation.answer import ScreenedReply
from kogpt_bot.store import JsonValue, OutboxPart, PartState, StoredMessage, Turn, TurnState
from kogpt_bot.store import Reply as ShownReply

if TYPE_CHECKING:
    from kogpt_bot.delivery.responder import Responder

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3  # of one turn, restarts of the daemon counted
MAX_BREAKS = 3  # a message that kills the service each time must not do so forever
RETRY_S = 0.25  # before the service is asked again after a break, unless it wants longer
BOT_ID = "kogpt-bot"

# The first that fits says how a turn ends that the platform stopped before anything was shown.
ENDINGS: tuple[tuple[type[AdapterError], TurnState], ...] = (
    (SendUnknown, TurnState.UNKNOWN),
    (Unreachable, TurnState.EXPIRED),  # it never left
    (RetryAfter, TurnState.EXPIRED),
    (AdapterError, TurnState.REFUSED),
)


class Answer:
    """The answer to one turn, whose attempt was counted already."""

    def __init__(
        self,
        owner: Responder,
        adapter: Adapter,
        turn: Turn,
        received_at: float,
        stopped: asyncio.Event,
    ) -> None:
        self._owner = owner
        self._adapter = adapter
        self._turn = turn
        self._stopped = stopped
        self._clock = owner.clock
        self._settings = owner.book.effective(turn.key).settings
        self._persona = owner.book.persona(self._settings.persona)
        self._deadline = received_at + owner.limits.reply_deadline_s
        self._quiet_until = received_at + owner.limits.burst_window_s
        keyed = adapter.capabilities_in(turn.key).idempotent_send
        self._outbox = TurnOutbox(owner.store, turn, owner.clock, owner.gates, keyed=keyed)
        self._stream = AnswerStream(
            adapter,
            turn.key,
            owner.clock,
            self._outbox,
            name=f"t{turn.id}",
            reply_to=turn.message.platform_id,
            deadline=self._deadline,
            speaker=self._persona.name,
            offers=offers(adapter.capabilities_in(turn.key), wanted=self._settings.buttons),
            before_first=self._hear_out,
        )
        self._reply: ScreenedReply | None = None
        self._breaks = 0

    async def run(self) -> None:
        """Answer, or record why not."""
        try:
            if await self._ended_before():
                return
            while True:
                try:
                    await self._stream.show(self._deltas(), stream=self._streaming)
                except (RowRefused, TurnGone, GenerationRejected, GenerationExpired):
                    raise
                except (GenerationError, StoreError) as error:  # maybe better a moment later
                    if self._stream.parts or not await self._try_again(error):
                        await self._failed(error)
                        return
                else:
                    await self._finished()
                    return
        except (ModelError, ConfigurationError, GenerationError) as error:
            await self._failed(error)
        except AdapterError as error:
            await self._refused(error)

    @property
    def _streaming(self) -> bool:
        # What is shown already does not shrink to its first word again.
        return self._settings.stream and not self._stream.parts

    async def _ended_before(self) -> bool:
        """Take up what earlier attempts have left; returns whether the turn ends by that."""
        parts = await self._outbox.load() if self._turn.attempts > 1 else []
        shown = [part for part in parts if part.state is PartState.SHOWN]
        self._stream.parts += [self._restored(part) for part in shown]
        sending = next((part for part in parts if part.state is PartState.PENDING), None)
        if sending is not None:
            if not self._can_repeat(sending):
                await self._end_as_shown(TurnState.UNKNOWN, "interrupted while sending")
                return True
            if self._turn.answer_parts is None:
                await self._stream.send_again(sending.text)
        if self._turn.answer_parts is not None:
            texts = [part.text for part in parts][: self._turn.answer_parts]
            await self._stream.finish(texts)
            await self._owner.end(self._turn, TurnState.REPLIED, {"resumed": True}, self._shown())
            return True
        return await self._given_up()

    def _can_repeat(self, part: OutboxPart) -> bool:
        capabilities = self._adapter.capabilities_in(self._turn.key)
        return capabilities.idempotent_send and repeatable(part, self._clock.now())

    def _restored(self, part: OutboxPart) -> Part:
        edits = self._adapter.capabilities_in(self._turn.key).edits
        # What it says by now is not recorded, so that where it can be edited, it is.
        return Part(part.platform_id, part.text, final=not edits)

    async def _given_up(self) -> bool:
        """End a turn that was tried too often or waits too long, with what was shown so far."""
        dead = self._turn.attempts > MAX_ATTEMPTS
        late = self._clock.monotonic() >= self._deadline
        fixed = bool(self._stream.parts) and not self._adapter.capabilities_in(self._turn.key).edits
        if not (dead or late or fixed):
            return False
        why = "too many attempts" if dead else "too late" if late else "interrupted"
        if self._stream.parts:
            await self._end_as_shown(TurnState.REPLIED, why)
            return True
        state = TurnState.DEAD if dead else TurnState.EXPIRED
        await self._owner.end(self._turn, state, {"why": why})
        notice = Notice.UNAVAILABLE if dead else Notice.LATE
        await self._owner.notify(self._turn, notice, self._settings)
        return True

    async def _end_as_shown(self, state: TurnState, why: str) -> None:
        """Let what was shown of an interrupted answer be all of it."""
        with suppress(AdapterError):
            await self._stream.finish([part.text for part in self._stream.parts])
        await self._owner.end(self._turn, state, {"why": why}, self._shown())

    async def _hear_out(self) -> None:
        """Wait, before anything is shown, for what the speaker may still have to say."""
        left = self._quiet_until - self._clock.monotonic()
        if left > 0:
            pause = asyncio.ensure_future(self._clock.sleep(left))
            try:
                await self._unless_stopped(pause)
            finally:
                pause.cancel()

    async def _deltas(self) -> AsyncIterator[str]:
        """Give the answer's text; ends early when somebody stops it.

        Raises GenerationExpired where it has not begun by the deadline: the service has others
        before it, and is told by the end of the connection that nobody waits any more.
        """
        waiting = asyncio.ensure_future(self._owner.model.get(self._left()))
        try:
            if not await self._unless_stopped(waiting):
                return
            request = await self._request(waiting.result())
        finally:
            waiting.cancel()
        self._reply = self._owner.answers.reply(request)
        pieces = aiter(self._reply)
        left: float | None = self._left()
        try:
            while True:
                following = asyncio.ensure_future(anext(pieces, None))
                try:
                    if not await self._unless_stopped(following, left):
                        return
                    text = following.result()
                finally:
                    if not following.done():
                        following.cancel()
                        await asyncio.wait([following])
                if text is None:
                    return
                yield text
                left = None  # what has begun is heard to its end
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    def _left(self) -> float:
        """Return the seconds until the deadline."""
        return max(self._deadline - self._clock.monotonic(), 0.1)

    async def _unless_stopped(self, work: asyncio.Future[Any], left: float | None = None) -> bool:
        """Wait for `work`; returns False when somebody stopped the answer first."""
        stop = asyncio.ensure_future(self._stopped.wait())
        first = asyncio.FIRST_COMPLETED
        try:
            done, _ = await asyncio.wait([work, stop], timeout=left, return_when=first)
            if not done and not self._has_begun:
                raise GenerationExpired("the answer had not begun at its deadline")
            await asyncio.wait([work, stop], return_when=first)
        finally:
            stop.cancel()
        return not self._stopped.is_set()

    @property
    def _has_begun(self) -> bool:
        """Whether the model has said anything, shown or not: it may have to be screened whole."""
        outcome = self._reply.outcome if self._reply is not None else Outcome()
        return bool(outcome.generated) or outcome.attempts > 1

    async def _request(self, model: ServingModel) -> ReplyRequest:
        limit = self._settings.context.max_messages
        past = await insist(self._clock, lambda: self._owner.store.history(self._turn.key, limit))
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

    async def _try_again(self, error: GenerationError | StoreError) -> bool:
        """Wait a moment; returns whether there is time for another try."""
        asked = error.seconds if isinstance(error, GenerationError) else None
        pause = max(asked or 0.0, RETRY_S)
        self._breaks += not isinstance(error, GenerationUnavailable | GenerationBusy | StoreError)
        late = self._clock.monotonic() + pause >= self._deadline
        if late or self._breaks >= MAX_BREAKS:
            return False
        log.info("turn_tries_again", turn=self._turn.id, why=str(error))
        await self._clock.sleep(pause)
        return True

    async def _finished(self) -> None:
        if not self._stream.parts:
            await self._owner.end(self._turn, TurnState.EXPIRED, {"why": "stopped"})
            return
        await self._owner.end(self._turn, TurnState.REPLIED, self._outcome(), self._shown())

    async def _failed(self, error: Exception) -> None:
        """Record why there is no (complete) answer, and say so in the channel."""
        outcome = {**self._outcome(), "error": str(error)}
        if self._stream.parts:
            with suppress(AdapterError):  # what an earlier attempt has left is all there will be
                await self._stream.finish([part.text for part in self._stream.parts])
            await self._owner.end(self._turn, TurnState.REPLIED, outcome, self._shown())
            return
        log.warning("turn_failed", turn=self._turn.id, why=str(error))
        await self._owner.end(self._turn, TurnState.EXPIRED, outcome)
        notice = Notice.UNAVAILABLE
        if isinstance(error, ModelError):
            notice = Notice.MODEL_FAILED
        elif isinstance(error, GenerationExpired):
            notice = Notice.LATE
        await self._owner.notify(self._turn, notice, self._settings)

    async def _refused(self, error: AdapterError) -> None:
        """Record that the platform did not take the answer, or not all of it."""
        outcome = {**self._outcome(), "error": f"{type(error).__name__}: {error}"}
        log.warning("answer_not_shown", turn=self._turn.id, why=outcome["error"])
        state = next(state for kind, state in ENDINGS if isinstance(error, kind))
        if self._stream.parts and state is not TurnState.UNKNOWN:
            state = TurnState.REPLIED
        await self._owner.end(self._turn, state, outcome, self._shown())

    def _shown(self) -> ShownReply | None:
        if not self._stream.parts:
            return None
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
