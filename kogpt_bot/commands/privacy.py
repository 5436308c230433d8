"""Wishes about what is remembered of a person: forget, opt out, opt in, export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kogpt_bot.command_words import COMMANDS
from kogpt_bot.commands.words import Say
from kogpt_bot.conversation.settings import Language
from kogpt_bot.messages import Action, ActionKind, ActionResult, Attachment
from kogpt_bot.particles import Particle, with_particle
from kogpt_bot.store import TurnState

if TYPE_CHECKING:
    from kogpt_bot.commands.desk import Parts

EXPORT_FILE = "kogpt-bot-export.json"
MAX_EXPORTED = 20_000  # messages, the newest: some megabytes, which platforms still take


async def forget(parts: Parts, action: Action) -> ActionResult:
    """Erase what the person said in this channel, and the answers to it."""
    await _let_go(parts, action, everywhere=False)
    count = await parts.store.erasure.erase(
        parts.person(action), action.key.adapter, action.author.id, action.key
    )
    parts.erased()
    if not count:
        return parts.refusal(action, Say.NOTHING_TO_FORGET)
    return parts.success(action, Say.FORGOTTEN, count=count)


async def opt_out(parts: Parts, action: Action) -> ActionResult:
    """Erase all that the person said on this platform, and remember nothing from now on."""
    person = parts.person(action)
    await parts.people.add(person, parts.clock.now())
    await _let_go(parts, action, everywhere=True)
    count = await parts.store.erasure.erase(person, action.key.adapter, action.author.id)
    parts.erased()
    erased = parts.say(action, Say.ERASED, count=count) if count else ""
    return parts.success(action, Say.OPTED_OUT, erased=erased, **way_back(parts.language(action)))


async def opt_in(parts: Parts, action: Action) -> ActionResult:
    """Remember the person's words again."""
    if await parts.people.remove(parts.person(action)):
        return parts.success(action, Say.OPTED_IN)
    return parts.refusal(action, Say.NEVER_OPTED_OUT)


def way_back(language: Language) -> dict[str, str]:
    """Return the words for how to opt in again."""
    name = COMMANDS[ActionKind.OPT_IN].name.of(language)
    return {"opt_in": name, "opt_in_object": with_particle(name, Particle.OBJECT)}


async def _let_go(parts: Parts, action: Action, *, everywhere: bool) -> None:
    """End the person's turns that wait or are being answered: their words go away."""
    await parts.store.catch_up()
    for turn in parts.lanes.drop_of(
        action.key.adapter, action.author.id, None if everywhere else action.key
    ):
        now = parts.clock.now()
        await parts.store.finish(turn, TurnState.EXPIRED, now, {"why": "forgotten"})
    for turn in await parts.answers.open_turns(action.key.adapter, action.author.id):
        if everywhere or turn.key == action.key:
            parts.responder.stop(turn.key, turn.id)


async def export(parts: Parts, action: Action) -> ActionResult:
    """Give the person all that is stored about them on this platform, as a file."""
    data = await parts.store.export.of(
        parts.person(action), action.key.adapter, action.author.id, limit=MAX_EXPORTED
    )
    text = json.dumps(data, ensure_ascii=False, indent=2)
    done = parts.success(
        action, Say.EXPORTED, messages=len(data["messages"]), answers=len(data["answers"])
    )
    return ActionResult(True, done.text, attachment=Attachment(EXPORT_FILE, text.encode()))
