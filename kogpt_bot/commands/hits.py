"""Reviewing the findings of the profanity log, by buttons under their notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kogpt_bot.commands.words import Say

if TYPE_CHECKING:
    from datetime import datetime

    from kogpt_bot.commands.desk import Parts
    from kogpt_bot.messages import Action, ActionResult, ChannelKey


class HitReview(Protocol):
    """The profanity log, as far as a reviewer needs it."""

    async def review(
        self, subject: str, *, right: bool, channel: ChannelKey, reviewer: str, at: datetime
    ) -> bool:
        """Record a verdict on the finding `subject`, given in `channel` by a keyed hash.

        Returns False where there is no such finding, or `channel` may not judge it.
        """
        ...


async def right(parts: Parts, action: Action) -> ActionResult:
    """Mark a finding as right."""
    return await _review(parts, action, right=True)


async def wrong(parts: Parts, action: Action) -> ActionResult:
    """Mark a finding as a false alarm."""
    return await _review(parts, action, right=False)


async def _review(parts: Parts, action: Action, *, right: bool) -> ActionResult:
    parts.rights.demand_manager(action)
    if parts.hits is None:
        return parts.refusal(action, Say.NO_REVIEW)
    known = await parts.hits.review(
        action.subject,
        right=right,
        channel=action.key,
        reviewer=parts.person(action),
        at=parts.clock.now(),
    )
    if not known:
        return parts.refusal(action, Say.NO_HIT)
    return parts.success(action, Say.HIT_RIGHT if right else Say.HIT_WRONG)
