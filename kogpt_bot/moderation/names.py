"""What people call themselves stands in the prompt; a profane name is logged, and masked there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from kogpt_bot.conversation.manager import HistoryLine, ReplyRequest
from kogpt_bot.conversation.settings import AnswerPolicy
from kogpt_bot.moderation.detector import Detector, Match
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.screen import MASK
from kogpt_bot.store.profanity_values import Direction
from kogpt_bot.store.profanity_values import Outcome as Shown

MAX_NAMES = 10_000  # names whose finding is remembered

_Key = tuple[str, str, str, AnswerPolicy, int, Detector]


class NameScreen:
    """Looks at each name once; under any policy but `log` the model reads ○○ in its place."""

    def __init__(self, log: ProfanityLog) -> None:
        self._log = log
        self._known: OrderedDict[_Key, str] = OrderedDict()

    async def clean(self, request: ReplyRequest, detector: Detector) -> Sequence[HistoryLine]:
        """Return the history as it may stand in the prompt."""
        history: list[HistoryLine] = []
        for each in request.history:
            if each.line.by_this_bot:  # the persona's name is ours
                history.append(each)
                continue
            name = await self._name(request, each, detector)
            history.append(replace(each, line=replace(each.line, name=name)))
        return history

    async def _name(self, request: ReplyRequest, said: HistoryLine, detector: Detector) -> str:
        line, rules = said.line, request.settings.profanity
        key = (
            str(request.key), line.author_id, line.name, rules.policy, rules.threshold, detector
        )  # fmt: skip
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        matches = [m for m in detector.find(line.name) if m.severity >= rules.threshold]
        name, shown = line.name, Shown.SHOWN
        if matches and rules.policy is not AnswerPolicy.LOG:
            name, shown = with_masks(line.name, matches), Shown.MASKED
        if matches:
            await self._log.said(
                Direction.NAME,
                request.key,
                line.author_id,
                line.name,
                matches,
                policy=rules.policy,
                outcome=shown,
            )
        self._known[key] = name
        if len(self._known) > MAX_NAMES:
            self._known.popitem(last=False)
        return name


def with_masks(text: str, matches: Sequence[Match]) -> str:
    """Return `text` with ○○ for each match; matches are in order and apart."""
    pieces: list[str] = []
    at = 0
    for match in matches:
        pieces += (text[at : match.start], MASK)
        at = match.end
    return "".join((*pieces, text[at:]))
