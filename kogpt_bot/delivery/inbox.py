"""The inbox: messages are checked, stored, and put into lanes; wishes are carried out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.config import Limits
from kogpt_bot.conversation.settings import ChannelSettings, Language
from kogpt_bot.conversation.trigger import Decision, Reason, decide
from kogpt_bot.delivery.announcer import Announce
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.delivery.limits import OncePerMinute, RateLimit
from kogpt_bot.delivery.notices import Notice
from kogpt_bot.delivery.opt_outs import OptOuts
from kogpt_bot.delivery.stream import OFFERS
from kogpt_bot.errors import Refused, StoreError
from kogpt_bot.messages import (
    Action,
    ActionKind,
    ActionResult,
    ChannelKey,
    Incoming,
    Outgoing,
    PastMessage,
)
from kogpt_bot.moderation.incoming import IncomingScreen
from kogpt_bot.store import Recorded, Store, StoredMessage, TurnPlan

log = structlog.get_logger(__name__)

STREAK_MESSAGES = 100  # looked back at for bots that talk among themselves
TAKING = 2_000  # messages that are being taken; beyond this the database is too far behind
BURST_LONGEST_S = 10.0  # whoever goes on for longer is answered in between


@dataclass(slots=True)
class _Door:
    """A channel's messages go through one after the other."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class MessageInbox:
    """The core's side of the adapter port; every adapter delivers here."""

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        stop: Callable[[ChannelKey, int], bool],
        carry_out: Callable[[Action], Awaitable[ActionResult]],
        people: OptOuts,
        book: ChannelBook,
        limits: Limits,
        clock: Clock,
        draw: Callable[[], float],
        screen: IncomingScreen,
        announce: Announce,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._stop = stop
        self._carry_out = carry_out
        self._people = people
        self._book = book
        self._limits = limits
        self._clock = clock
        self._draw = draw
        self._screen = screen
        self._announce = announce
        self._doors: dict[ChannelKey, _Door] = {}
        self._taking = 0
        self._rate: RateLimit[tuple[str, str]] = RateLimit(clock, limits.messages_per_minute)
        self._notices: OncePerMinute[tuple[Notice, object]] = OncePerMinute(clock)

    @property
    def taking(self) -> int:
        """How many messages are being recorded."""
        return self._taking

    def replace_limits(self, limits: Limits) -> None:
        """Take over changed limits; they hold from the next message on."""
        self._limits = limits
        self._rate.per_minute = limits.messages_per_minute

    async def accept(self, message: Incoming) -> bool:
        """Store a message and owe it an answer, if it is the bot's to answer."""
        settings = self._book.effective(message.key).settings
        if self._people.has(message.key.adapter, message.author.id):
            await self._explain_once(message, settings)
            return False
        self._check(message, settings.language)
        async with self._door(message.key):
            screened = await self._screen.screen(message, settings)
            if screened.ignored:
                await self._store.record(screened.message, self._clock.now(), None)
                return False
            if self._people.has(message.key.adapter, message.author.id):
                return False  # they have opted out meanwhile
            recorded = await self._record(message, settings)
        if recorded is None:  # a second delivery: the first one is being answered
            return False
        if screened.warn:
            notice = Notice.KINDER_WORDS.text(settings.language)
            self._announce(message.key, Outgoing(notice, reply_to=message.message_id))
        turn = recorded[1]
        return turn is not None and not turn.state.ended

    async def _record(self, message: Incoming, settings: ChannelSettings) -> Recorded:
        """Store a message, and the turn that answers it where it is the bot's to answer."""
        name = self._persona_name(settings)
        streak = await self._bot_streak(message.key) if message.author.is_bot else 0
        decision = decide(message, settings.trigger, name, bot_streak=streak, draw=self._draw())
        if not decision.respond:
            return await self._store.record(message, self._clock.now(), None)
        if (notice := self._turned_away(message)) is not None:
            return await self._turn_away(message, decision, notice, settings.language)
        return await self._owe(message, decision)

    async def _turn_away(
        self, message: Incoming, decision: Decision, notice: Notice, language: Language
    ) -> Recorded:
        """Store that a message gets no answer; Refused where the person should be told."""
        why = notice.name.lower().replace("_", " ")
        plan = TurnPlan(decision.reason, decision.priority, refused=why)
        recorded = await self._store.record(message, self._clock.now(), plan)
        log.warning("not_taken", adapter=message.key.adapter, why=why)
        whom = message.key if notice is Notice.BUSY else message.author.id
        if recorded is not None and self._notices.due((notice, whom)):
            raise Refused(notice.text(language))
        return recorded

    async def _owe(self, message: Incoming, decision: Decision) -> Recorded:
        """Store a message and its turn, and put the turn into its lane."""
        burst_at, joins = self._burst(message)
        plan = TurnPlan(decision.reason, decision.priority, joins=joins)
        self._lanes.reserve()
        try:
            recorded = await self._store.record(message, self._clock.now(), plan)
        finally:
            self._lanes.release()
        if recorded is None or (turn := recorded[1]) is None or not turn.ours:
            return recorded  # another process's channel: it answers
        if turn.joined is None:
            burst_at = None
        elif not self._lanes.drop(turn.key, turn.joined):
            self._stop(turn.key, turn.joined)
        self._lanes.put(turn, burst_at=burst_at)
        return recorded

    def _turned_away(self, message: Incoming) -> Notice | None:
        """Return why a message gets no answer now."""
        if not self._lanes.has_room(message.key):
            return Notice.BUSY
        if not self._rate.allows((message.key.adapter, message.author.id)):
            return Notice.SLOW_DOWN
        return None

    def _burst(self, message: Incoming) -> tuple[float | None, int | None]:
        """Return since when the speaker's burst goes on, and the turn that it has so far."""
        earlier = self._lanes.newest(message.key)
        if earlier is None or earlier.turn.message.author.id != message.author.id:
            return None, None
        now = self._clock.monotonic()
        apart = now - earlier.received_at >= self._limits.burst_window_s
        regenerated = earlier.turn.reason == Reason.REGENERATE
        if apart or regenerated or now - earlier.burst_at > BURST_LONGEST_S:
            return None, None
        return earlier.burst_at, earlier.turn.id

    @asynccontextmanager
    async def _door(self, key: ChannelKey) -> AsyncIterator[None]:
        """Let one message of a channel through at a time; StoreError when too many wait."""
        if self._taking >= TAKING:
            raise StoreError(f"the database is behind by {TAKING} messages")
        door = self._doors.setdefault(key, _Door())
        self._taking += 1
        door.users += 1
        try:
            async with door.lock:
                yield
        finally:
            self._taking -= 1
            door.users -= 1
            if not door.users:
                del self._doors[key]

    async def _explain_once(self, message: Incoming, settings: ChannelSettings) -> None:
        """Tell somebody who opted out, and calls the bot all the same, why it is silent."""
        name = self._persona_name(settings)
        called = decide(message, settings.trigger, name, bot_streak=0, draw=1.0).respond
        adapter, id_ = message.key.adapter, message.author.id
        if called and await self._people.tell_once(adapter, id_, self._clock.now()):
            raise Refused(Notice.OPTED_OUT.text(settings.language))

    def _persona_name(self, settings: ChannelSettings) -> str:
        return self._book.persona(settings.persona).name

    def _check(self, message: Incoming, language: Language) -> None:
        if self._too_long(message):
            raise Refused(Notice.TOO_LONG.text(language))
        if not message.text.strip():
            raise Refused(Notice.EMPTY.text(language))

    def _too_long(self, message: Incoming) -> bool:
        return len(message.text.encode("utf-8", "surrogatepass")) > self._limits.message_bytes

    async def _bot_streak(self, key: ChannelKey) -> int:
        streak = 0
        for past in reversed(await self._store.history(key, STREAK_MESSAGES)):
            if not past.author.is_bot:
                break
            streak += 1
        return streak

    async def act(self, action: Action) -> ActionResult:
        """Carry out what is not a message."""
        return await self._carry_out(action)

    async def amend(self, message: Incoming) -> None:
        """Replace a message's text by what its author made of it."""
        if self._people.has(message.key.adapter, message.author.id):
            return
        if not message.text.strip() or self._too_long(message):
            await self._store.withdraw(message.key, message.message_id)
            return
        settings = self._book.effective(message.key).settings
        screened = await self._screen.screen(message, settings)
        if screened.ignored:
            await self._store.withdraw(message.key, message.message_id)
        else:
            await self._store.amend(message)

    async def withdraw(self, key: ChannelKey, message_id: str) -> None:
        """Forget a message that is gone."""
        await self._store.withdraw(key, message_id)

    async def newest(self, adapter: str, since: datetime) -> Mapping[ChannelKey, str]:
        """Return the last message heard in each channel of an adapter."""
        return await self._store.newest(adapter, since)

    async def history(self, key: ChannelKey, limit: int) -> Sequence[PastMessage]:
        """Return the channel's last messages as people saw them."""
        shown: list[PastMessage] = []
        wanted = self._book.effective(key).settings.buttons
        for message in await self._store.history(key, limit):
            shown += _as_shown(message, OFFERS if wanted and message.by_this_bot else ())
        return shown[-limit:]


def _as_shown(message: StoredMessage, offers: tuple[ActionKind, ...]) -> list[PastMessage]:
    """Return the platform messages of one stored message: a long answer was shown in parts."""
    parts = message.parts or ((message.platform_id, message.text),)
    shown = [
        PastMessage(id_, message.author, text, message.sent_at, message.by_this_bot)
        for id_, text in parts
    ]
    return [*shown[:-1], replace(shown[-1], offers=offers)]
