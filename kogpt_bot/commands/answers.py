"""Wishes about answers: stop, regenerate, answer, delete, good, bad, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kogpt_bot.commands.privacy import way_back
from kogpt_bot.commands.words import Say
from kogpt_bot.conversation.trigger import PRIORITIES, Reason
from kogpt_bot.errors import TurnGone
from kogpt_bot.messages import Action, ActionResult
from kogpt_bot.store import TurnPlan
from kogpt_bot.store.answers import Answered
from kogpt_bot.store.people import Report

if TYPE_CHECKING:
    from kogpt_bot.commands.desk import Parts

MAX_REASON_CHARS = 2000  # of a report
RECORDED_S, RECORDED_WITHIN = 0.1, 10  # so long, so many times, is waited for an answer's record
_PLAN = TurnPlan(Reason.REGENERATE, PRIORITIES[Reason.REGENERATE])


async def stop(parts: Parts, action: Action) -> ActionResult:
    """End the answer that is being written."""
    turn = await parts.answers.open_turn(action.key)
    if turn is not None:
        parts.rights.demand_asker(action, turn.message.author.id)
    if turn is None or not parts.responder.stop(action.key, turn.id):
        return parts.refusal(action, Say.NOTHING_TO_STOP)
    return parts.success(action, Say.STOPPED)


async def regenerate(parts: Parts, action: Action) -> ActionResult:
    """Take an answer back and write another one."""
    found = await _named(parts, action)
    if found is None:
        return parts.refusal(action, _missing(action))
    parts.rights.demand_asker(action, found.turn.message.author.id)
    if not parts.lanes.has_room(action.key):
        return parts.refusal(action, Say.BUSY)
    try:
        turn = await parts.store.retract(found.turn, _PLAN, parts.clock.now())
    except TurnGone:  # pressed twice
        return parts.refusal(action, _missing(action))
    await parts.responder.remove(found.reply)
    parts.lanes.put(turn)
    return parts.success(action, Say.REGENERATING)


async def _named(parts: Parts, action: Action) -> Answered | None:
    """Return the answer that the action names, or the channel's last one.

    An answer is shown a moment before it is recorded: a person may be faster.
    """
    key, named = action.key, action.message_id
    for _ in range(RECORDED_WITHIN):
        if named and (found := await parts.answers.find(key, named)) is not None:
            return found
        if await parts.answers.open_turn(key) is None:
            break
        await parts.clock.sleep(RECORDED_S)
    return await (parts.answers.find(key, named) if named else parts.answers.last(key))


def _missing(action: Action) -> Say:
    return Say.NO_ANSWER if action.message_id else Say.NO_ANSWER_YET


async def answer(parts: Parts, action: Action) -> ActionResult:
    """Answer a message that did not call the bot."""
    question = await parts.answers.question(action.key, action.message_id)
    if question is None:
        return parts.refusal(action, Say.UNKNOWN_MESSAGE)
    turn = await parts.answers.turn_of(question)
    if turn is not None and not turn.state.ended:
        return parts.refusal(action, Say.BEING_ANSWERED)
    if turn is not None and turn.reply_id is not None:
        return parts.refusal(action, Say.ALREADY_ANSWERED)
    if not parts.lanes.has_room(action.key):
        return parts.refusal(action, Say.BUSY)
    owed = await parts.answers.owe(question, _PLAN, parts.clock.now())
    if owed is None:  # pressed twice
        return parts.refusal(action, Say.BEING_ANSWERED)
    parts.lanes.put(owed)
    return parts.success(action, Say.ANSWERING)


async def delete(parts: Parts, action: Action) -> ActionResult:
    """Take an answer back, on the platform and out of the history."""
    found = await _named(parts, action)
    if found is None:
        return parts.refusal(action, _missing(action))
    parts.rights.demand_asker(action, found.turn.message.author.id)
    await parts.responder.remove(found.reply)
    await parts.answers.take_back(found.reply)
    adapter = parts.adapters.get(action.key.adapter)
    gone = adapter is not None and adapter.capabilities_in(action.key).deletes
    return parts.success(action, Say.DELETED if gone else Say.DELETED_FROM_MEMORY)


async def good(parts: Parts, action: Action) -> ActionResult:
    """Note that an answer is a good one."""
    return await _judge(parts, action, "good", Say.THANKS_GOOD)


async def bad(parts: Parts, action: Action) -> ActionResult:
    """Note that an answer is not a good one."""
    return await _judge(parts, action, "bad", Say.THANKS_BAD)


async def _judge(parts: Parts, action: Action, verdict: str, thanks: Say) -> ActionResult:
    person = parts.person(action)
    if person in parts.people:
        return parts.refusal(action, Say.NOTHING_KEPT, **way_back(parts.language(action)))
    found = await _named(parts, action)
    if found is None:
        return parts.refusal(action, _missing(action))
    await parts.store.people.judge(found.reply.id, person, verdict, parts.clock.now())
    return parts.success(action, thanks)


async def report(parts: Parts, action: Action) -> ActionResult:
    """Keep an abnormal answer for the owner, with what is known of how it came about."""
    found = await _named(parts, action)
    if found is None:
        return parts.refusal(action, _missing(action))
    person = parts.person(action)
    question = found.turn.message
    number = await parts.store.people.report(
        Report(
            at=parts.clock.now(),
            channel=str(action.key),
            person="" if person in parts.people else person,
            asker=parts.pseudonyms.person(action.key.adapter, question.author.id),
            reason=action.value.strip()[:MAX_REASON_CHARS],
            question=question.text,
            answer=found.reply.text,
            outcome=found.outcome,
        )
    )
    return parts.success(action, Say.REPORTED, number=number)
