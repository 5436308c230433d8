"""Where wishes are carried out: the table of commands, their limit, and what all of them need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import structlog

from kogpt_bot.adapter import Adapter
from kogpt_bot.clock import Clock
from kogpt_bot.commands import answers, channel, hits, privacy, settings
from kogpt_bot.commands.follow import follow
from kogpt_bot.commands.rights import NotAllowed, Rights
from kogpt_bot.commands.words import Say
from kogpt_bot.conversation.settings import Language
from kogpt_bot.delivery.channels import ChannelBook
from kogpt_bot.delivery.lanes import Lanes
from kogpt_bot.delivery.limits import RateLimit
from kogpt_bot.delivery.opt_outs import OptOuts
from kogpt_bot.delivery.responder import ModelSource, Responder
from kogpt_bot.errors import StoreError
from kogpt_bot.messages import Action, ActionKind, ActionResult
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store import Store
from kogpt_bot.store.answers import Answers

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the commands work with."""

    store: Store
    answers: Answers
    lanes: Lanes
    responder: Responder
    book: ChannelBook
    people: OptOuts
    model: ModelSource
    adapters: Mapping[str, Adapter]
    pseudonyms: Pseudonyms
    rights: Rights
    clock: Clock
    hits: hits.HitReview | None = None
    erased: Callable[[], None] = lambda: None  # told that rows were erased, so that no byte stays

    def person(self, action: Action) -> str:
        """Return the keyed hash of who acts."""
        return self.pseudonyms.person(action.key.adapter, action.author.id)

    def language(self, action: Action) -> Language:
        """Return the language of a result: the person's own, or else the channel's."""
        if action.language in {language.value for language in Language}:
            return Language(action.language)
        return self.book.effective(action.key).settings.language

    def say(self, action: Action, what: Say, **fields: object) -> str:
        """Return a sentence in the language of the result."""
        return what.text(self.language(action), **fields)

    def success(self, action: Action, what: Say, **fields: object) -> ActionResult:
        """Return that it was done."""
        return ActionResult(True, self.say(action, what, **fields))

    def refusal(self, action: Action, what: Say, **fields: object) -> ActionResult:
        """Return that it was not done, and why."""
        return ActionResult(False, self.say(action, what, **fields))


Handler = Callable[[Parts, Action], Awaitable[ActionResult]]

HANDLERS: Mapping[ActionKind, Handler] = MappingProxyType(
    {
        ActionKind.STOP: answers.stop,
        ActionKind.REGENERATE: answers.regenerate,
        ActionKind.CLEAR: channel.clear,
        ActionKind.ANSWER: answers.answer,
        ActionKind.DELETE: answers.delete,
        ActionKind.GOOD: answers.good,
        ActionKind.BAD: answers.bad,
        ActionKind.REPORT: answers.report,
        ActionKind.SETTINGS: settings.show,
        ActionKind.SET: settings.change,
        ActionKind.RESET: settings.reset,
        ActionKind.PERSONA: settings.persona,
        ActionKind.FORGET: privacy.forget,
        ActionKind.OPT_OUT: privacy.opt_out,
        ActionKind.OPT_IN: privacy.opt_in,
        ActionKind.EXPORT: privacy.export,
        ActionKind.STATUS: channel.status,
        ActionKind.HELP: channel.help_,
        ActionKind.HIT_RIGHT: hits.right,
        ActionKind.HIT_WRONG: hits.wrong,
    }
)


class Desk:
    """Carries out one action after the other, as `Inbox.act` promises."""

    def __init__(self, parts: Parts, *, per_minute: int) -> None:
        self._parts = parts
        self._rate: RateLimit[str] = RateLimit(parts.clock, per_minute)

    def replace(self, owners: Mapping[str, Collection[str]], *, per_minute: int) -> None:
        """Take over changed owners and a changed limit."""
        self._parts.rights.replace(owners)
        self._rate.per_minute = per_minute

    async def follow(self) -> None:
        """Take over what other daemons of the database change, until cancelled."""
        await follow(self._parts)

    async def act(self, action: Action) -> ActionResult:
        """Carry out an action, or say why not; raises nothing that a person could cause."""
        parts = self._parts
        person = parts.person(action)
        if not self._rate.allows(person):
            return parts.refusal(action, Say.SLOWLY)
        try:
            result = await HANDLERS[action.kind](parts, action)
        except NotAllowed as refused:
            log.warning(
                "action_not_allowed",
                kind=action.kind.value,
                adapter=action.key.adapter,
                person=person[:12],
                why=refused.why.name,
            )
            return parts.refusal(action, refused.why)
        except StoreError as error:
            log.warning("action_failed", kind=action.kind.value, why=str(error))
            return parts.refusal(action, Say.FAILED)
        log.info(
            "action",
            kind=action.kind.value,
            adapter=action.key.adapter,
            person=person[:12],
            done=result.done,
        )
        return result
