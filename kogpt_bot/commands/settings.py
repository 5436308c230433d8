"""Wishes about settings: show them with where they come from, change, reset, choose a persona."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from kogpt_bot.commands import allowed
from kogpt_bot.commands.words import Say
from kogpt_bot.conversation.setting_values import check_overrides, parse_value, plain_value
from kogpt_bot.conversation.settings import KEYS, Level, Origin, flatten, scopes
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import Action, ActionResult, ScopeLevel, SettingView
from kogpt_bot.particles import Particle, with_particle

if TYPE_CHECKING:
    from kogpt_bot.commands.desk import Parts

_LEVELS = {
    ScopeLevel.PLATFORM: Level.PLATFORM,
    ScopeLevel.SERVER: Level.SERVER,
    ScopeLevel.CHANNEL: Level.CHANNEL,
    ScopeLevel.THREAD: Level.THREAD,
}


async def show(parts: Parts, action: Action) -> ActionResult:
    """List what applies in the channel, each value with its source."""
    effective = parts.book.effective(action.key)
    values, language = flatten(effective.settings), parts.language(action)
    views = tuple(
        SettingView(
            name=key,
            value=allowed.shown(values[key], language),
            source=allowed.source(effective.source(key), language),
            allowed=_allowed(parts, action, key),
            choices=_choices(parts, action, key),
        )
        for key in KEYS
    )
    changed = [
        f"{view.name} = {view.value}"
        for view in views
        if effective.source(view.name).origin is not Origin.BUILT_IN
    ]
    said = (
        parts.say(action, Say.SETTINGS_CHANGED, changed=", ".join(changed))
        if changed
        else parts.say(action, Say.SETTINGS_PLAIN)
    )
    return ActionResult(True, f"{parts.say(action, Say.SETTINGS)} {said}", views)


def _choices(parts: Parts, action: Action, key: str) -> tuple[str, ...]:
    if key == "persona":
        return tuple(parts.book.personas)
    return allowed.choices(key, parts.language(action))


def _allowed(parts: Parts, action: Action, key: str) -> str:
    if key == "persona":
        return ", ".join(parts.book.personas)
    return allowed.allowed(key, parts.language(action))


async def change(parts: Parts, action: Action) -> ActionResult:
    """Set one value at one level; it applies from the next message on."""
    parts.rights.demand_level(action)
    if (unknown := _unknown(parts, action)) is not None:
        return unknown
    key = action.name
    try:
        value = parse_value(key, action.value)
    except ConfigurationError:
        value = None
        good = False
    else:
        good = key != "persona" or value in parts.book.personas
    if not good:
        return parts.refusal(
            action,
            Say.NOT_ALLOWED,
            name=key,
            value=_short(action.value),
            topic=_topic(action.value),
            allowed=_allowed(parts, action, key),
        )
    await _store(parts, action, key, value)
    language = parts.language(action)
    effective = parts.book.effective(action.key)
    applies = flatten(effective.settings)[key]
    text = allowed.shown(value, language)
    return parts.success(
        action,
        Say.SET if applies == value else Say.SET_WITHOUT_EFFECT,
        name=key,
        object=with_particle(key, Particle.OBJECT),
        value=text,
        value_to=with_particle(text, Particle.TO),
        where=allowed.where(_LEVELS[action.level], language),
        effective=allowed.shown(applies, language),
        effective_subject=with_particle(allowed.shown(applies, language), Particle.SUBJECT),
        source=allowed.source(effective.source(key), language),
    )


async def reset(parts: Parts, action: Action) -> ActionResult:
    """Take back what a command set at one level: one value, or without a name all."""
    parts.rights.demand_level(action)
    if action.name and (unknown := _unknown(parts, action)) is not None:
        return unknown
    scope = _scope(action)
    set_there = (await parts.store.settings.all()).get(scope, {})
    keys = [action.name] if action.name else list(set_there)
    by, now = parts.person(action), parts.clock.now()
    count = 0
    for key in keys:
        count += await parts.store.settings.reset(scope, key, by=by, at=now)
    await reload(parts)
    language = parts.language(action)
    where = allowed.where(_LEVELS[action.level], language)
    if not count:
        return parts.refusal(action, Say.NOT_SET, where=where)
    if not action.name:
        return parts.success(action, Say.RESET_ALL, count=count, where=where)
    effective = parts.book.effective(action.key)
    return parts.success(
        action,
        Say.RESET,
        name=action.name,
        object=with_particle(action.name, Particle.OBJECT),
        where=where,
        effective=allowed.shown(flatten(effective.settings)[action.name], language),
        source=allowed.source(effective.source(action.name), language),
    )


async def persona(parts: Parts, action: Action) -> ActionResult:
    """Say who the bot is here; with a value, become somebody else."""
    wish = action.value.strip()
    if not wish:
        found = parts.book.persona(parts.book.effective(action.key).settings.persona)
        return parts.success(
            action,
            Say.PERSONA,
            name=found.name,
            is_name=with_particle(found.name, Particle.IS),
            description=found.description,
            names=_names(parts),
        )
    parts.rights.demand_level(action)
    key = next((k for k, each in parts.book.personas.items() if wish in (k, each.name)), None)
    if key is None:
        return parts.refusal(
            action, Say.NO_PERSONA, given=_short(wish), topic=_topic(wish), names=_names(parts)
        )
    await _store(parts, action, "persona", key)
    name = parts.book.personas[key].name
    return parts.success(
        action, Say.PERSONA_SET, name=name, is_name=with_particle(name, Particle.IS)
    )


def _names(parts: Parts) -> str:
    return ", ".join(
        key if key == each.name else f"{key} ({each.name})"
        for key, each in parts.book.personas.items()
    )


async def _store(parts: Parts, action: Action, key: str, value: Any) -> None:
    await parts.store.settings.set(
        _scope(action), key, plain_value(value), by=parts.person(action), at=parts.clock.now()
    )
    await reload(parts)


async def reload(parts: Parts) -> None:
    """Let what commands have set apply from now on."""
    command, _ = check_overrides(await parts.store.settings.all())
    parts.book.take_commands(command)


def _scope(action: Action) -> str:
    """Return the scope of the action's level; `demand_level` has seen that there is one."""
    return dict(scopes(action.key))[_LEVELS[action.level]]


def _unknown(parts: Parts, action: Action) -> ActionResult | None:
    """Return the refusal of a setting that is not there."""
    if action.name in KEYS:
        return None
    if not action.name:
        return parts.refusal(action, Say.WHICH_SETTING)
    near = difflib.get_close_matches(action.name, list(KEYS), 1)
    guess = parts.say(action, Say.GUESS, near=near[0]) if near else ""
    return parts.refusal(
        action, Say.NO_SETTING, given=_short(action.name), topic=_topic(action.name), guess=guess
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _topic(text: str) -> str:
    short = _short(text)
    return with_particle(short, Particle.TOPIC).removeprefix(short)
