"""Wishes about the channel as a whole: clear, status, help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kogpt_bot.command_words import COMMANDS
from kogpt_bot.commands.words import Say
from kogpt_bot.conversation.settings import Language
from kogpt_bot.errors import GenerationError, ModelError
from kogpt_bot.messages import Action, ActionKind, ActionResult
from kogpt_bot.particles import Particle, with_particle
from kogpt_bot.store import TurnState

if TYPE_CHECKING:
    from kogpt_bot.commands.desk import Parts

MODEL_PATIENCE_S = 2.0  # a status that waits for a model that loads is no status
# What help speaks of, in this order; the others are buttons, or of use to few.
HELPFUL = (
    ActionKind.REGENERATE, ActionKind.STOP, ActionKind.STATUS, ActionKind.PERSONA,
    ActionKind.SETTINGS, ActionKind.REPORT, ActionKind.FORGET, ActionKind.OPT_OUT,
    ActionKind.EXPORT,
)  # fmt: skip
FOR_MANAGERS = (ActionKind.SET, ActionKind.RESET, ActionKind.CLEAR)


async def clear(parts: Parts, action: Action) -> ActionResult:
    """Let nothing that was said so far in the channel be context any more."""
    parts.rights.demand_manager(action)
    for turn in parts.lanes.drop_waiting(action.key):
        now = parts.clock.now()
        await parts.store.finish(turn, TurnState.EXPIRED, now, {"why": "cleared"})
    parts.responder.stop(action.key)
    await parts.store.clear(action.key)
    return parts.success(action, Say.CLEARED)


async def status(parts: Parts, action: Action) -> ActionResult:
    """Say which model answers, what waits, and how fast it has been lately."""
    try:
        model = (await parts.model.get(MODEL_PATIENCE_S)).name
    except (GenerationError, ModelError):
        model = parts.say(action, Say.MODEL_LOADING)
    seconds = await parts.answers.usual_seconds(action.key.adapter)
    speed = (
        parts.say(action, Say.SPEED_UNKNOWN)
        if seconds is None
        else parts.say(action, Say.SPEED, seconds=f"{seconds:.1f}")
    )
    return parts.success(
        action,
        Say.STATUS,
        model=model,
        here=await _here(parts, action),
        answering=parts.responder.answering,
        waiting=parts.lanes.waiting,
        speed=speed,
    )


async def _here(parts: Parts, action: Action) -> str:
    waiting = parts.lanes.waiting_in(action.key)
    if place := parts.lanes.place_of(action.key, action.author.id):
        return parts.say(action, Say.HERE_PLACE, waiting=waiting, place=place)
    if waiting:
        return parts.say(action, Say.HERE_WAITING, waiting=waiting)
    writing = await parts.answers.open_turn(action.key) is not None
    return parts.say(action, Say.HERE_WRITING if writing else Say.HERE_IDLE)


async def help_(parts: Parts, action: Action) -> ActionResult:
    """Say what can be done here, to this person."""
    effective = parts.book.effective(action.key).settings
    language = parts.language(action)
    name = parts.book.persona(effective.persona).name
    lines = [_greeting(name, language, direct=action.direct)]
    kinds = [*HELPFUL, *(FOR_MANAGERS if parts.rights.manages(action) else ())]
    for kind in kinds:
        command = COMMANDS[kind]
        lines.append(f"• {command.name.of(language)}: {command.description.of(language)}")
    return ActionResult(True, "\n".join(lines))


def _greeting(name: str, language: Language, *, direct: bool) -> str:
    if language is not Language.KO:
        how = "Just write to me." if direct else f"Call me by my name, {name}, or mention me."
        return f"Hi, I am {name}! {how} I answer in Korean. You can also ask for:"
    how = (
        "그냥 말을 걸어 주세요."
        if direct
        else f"“{name}”{_call(name)} 하고 부르거나 멘션해 주세요."
    )
    return f"안녕하세요, 저는 {with_particle(name, Particle.IS)}! {how} 이런 것도 할 수 있어요."


def _call(name: str) -> str:
    return with_particle(name, Particle.CALL).removeprefix(name)
