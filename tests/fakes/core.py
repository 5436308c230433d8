"""The whole core around a fake platform and a scripted model."""

import asyncio
import functools
from contextlib import asynccontextmanager

from kogpt_bot.clock import SystemClock
from kogpt_bot.commands import Desk, Parts
from kogpt_bot.commands.rights import Rights
from kogpt_bot.config import Limits
from kogpt_bot.conversation.manager import ConversationManager, Piece, ServingModel
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from kogpt_bot.conversation.settings import SettingsLayers
from kogpt_bot.conversation.tokens import ModelTokens
from kogpt_bot.delivery.announcer import Announcer
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.inbox import MessageInbox
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.delivery.opt_outs import OptOuts
from kogpt_bot.delivery.responder import Responder
from kogpt_bot.messages import Action, Author, ChannelKey
from kogpt_bot.metrics import Metrics
from kogpt_bot.moderation import Detector
from kogpt_bot.moderation.answer import ScreenedAnswers
from kogpt_bot.moderation.detectors import Detectors
from kogpt_bot.moderation.incoming import IncomingScreen
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store.answers import Answers
from kogpt_bot.testing import FakeAdapter
from tests.fakes.tokenizer import make_tokenizer

CODEC = ModelTokens(make_tokenizer().to_str().encode())
ROOM = ChannelKey("fake", "room")
PERSON = Author("u1", "민수")
detector = functools.cache(Detector.default)  # it is immutable, and building it takes a while
AT_ONCE = {"burst_window_s": 0, "messages_per_minute": 1000, "actions_per_minute": 1000}


class ScriptedModel:
    """Says what it is told to; keeps what it was asked."""

    def __init__(self):
        self.asks = []
        self.scripts = []  # the next answers; after them, `답 N`
        self.unavailable = None  # what `get` raises
        self.hold = None  # an event to wait for after the first piece
        self.busy = None  # an event to wait for before it
        self.closed = 0  # answers that nobody waited for

    async def get(self, timeout_s):
        if self.unavailable:
            raise self.unavailable
        return ServingModel("scripted", 512, CODEC)

    async def generate(self, ask):
        self.asks.append(ask)
        script = self.scripts.pop(0) if self.scripts else [" 답 ", str(len(self.asks))]
        try:
            if self.busy:
                await self.busy.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.closed += 1
            raise
        for number, piece in enumerate(script):
            if isinstance(piece, Exception):
                raise piece
            yield Piece(piece)
            if number == 0 and self.hold:
                await self.hold.wait()
        yield Piece("", "stop")


class Core:
    """The whole core around a fake adapter."""

    def __init__(
        self,
        store,
        model,
        limits=None,
        layers=None,
        personas=None,
        owners=None,
        hits=None,
        adapter=None,
        clock=None,
        concurrency=8,
    ):
        self.store, self.model = store, model
        self.adapter = adapter or FakeAdapter()
        self.clock = clock = clock or SystemClock()
        limits = limits or Limits(reply_deadline_s=60, **AT_ONCE)
        personas = {"default": DEFAULT_PERSONA, **(personas or {})}
        self.book = book = ChannelBook(layers or SettingsLayers(), personas)
        self.pseudonyms = Pseudonyms(b"k" * 32)
        self.people = OptOuts(store, self.pseudonyms)
        manager = ConversationManager(model.generate, lambda: 1)
        found = ProfanityLog(store.profanity, self.pseudonyms, clock)
        detectors = Detectors(store.profanity, clock, detector())
        answers = ScreenedAnswers(manager, detectors, found, lambda _: "blocked")
        self.announcer = Announcer({self.adapter.name: self.adapter}, clock)
        self.responder = Responder(
            {self.adapter.name: self.adapter}, store, book, answers, model, limits, clock, Metrics()
        )
        self.lanes = Lanes(
            self.responder.answer,
            clock,
            per_channel=limits.waiting_per_channel,
            total=limits.waiting_total,
            concurrency=concurrency,
        )
        self.parts = Parts(
            store=store,
            answers=Answers(store),
            lanes=self.lanes,
            responder=self.responder,
            book=book,
            people=self.people,
            model=model,
            adapters={self.adapter.name: self.adapter},
            pseudonyms=self.pseudonyms,
            rights=Rights(owners or {}),
            clock=clock,
            hits=hits,
        )
        desk = Desk(self.parts, per_minute=limits.actions_per_minute)
        screen = IncomingScreen(detectors, found, clock)
        self.inbox = MessageInbox(
            store, self.lanes, self.responder.stop, desk.act, self.people, book, limits, clock, lambda: 0.5,
            screen, self.announcer.announce,
        )  # fmt: skip

    async def act(self, kind, channel="room", author=PERSON, direct=True, key=None, **fields):
        key = key or ChannelKey("fake", channel)
        now = SystemClock().now()
        return await self.inbox.act(Action(kind, key, author, now, direct=direct, **fields))

    async def settle(self, **states):
        """Wait until the turns are in these states."""
        async with asyncio.timeout(60):
            while await self.store.turn_states() != states:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(store, model=None, **options):
    core = Core(store, model or ScriptedModel(), **options)
    task = asyncio.create_task(core.adapter.run(core.inbox))
    try:
        yield core
    finally:
        await core.adapter.stop()
        await task
        await core.lanes.close(1)
