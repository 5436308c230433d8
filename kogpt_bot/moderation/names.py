"""What people call themselves stands in the prompt; a profane name is logged, and masked there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from kogpt_bot.conversation.manager import HistoryLine, ReplyRequest
from kogpt_bot.conversation.settings import AnswerPolicy
from kogpt_bot.moderation.detector import Detector, Match
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.screen import MASK
from kogpt_bot.store.profanity_values import Direction
from kogpt_bot.store.profanity_values import Outcome as Shown

MAX_NAMES = 2_000  # whose finding is remembered; about those who speak in a day

K = TypeVar("K")
V = TypeVar("V")

_Look = tuple[str, int, Detector]  # name, threshold
_Place = tuple[str, str, AnswerPolicy]  # channel, person


class NameScreen:
    """Looks at each name once; under any policy but `log` the model reads ○○ in its place."""

    def __init__(self, log: ProfanityLog) -> None:
        self._log = log
        self._found: OrderedDict[_Look, Sequence[Match]] = OrderedDict()
        self._logged: OrderedDict[tuple[_Look, _Place], bool] = OrderedDict()

    async def clean(self, request: ReplyRequest, detector: Detector) -> Sequence[HistoryLine]:
        """Return the history as it may stand in the prompt."""
        history: list[HistoryLine] = []
        for each in request.history:
            name = each.line.name
            if not each.line.by_this_bot:  # the persona's name is ours
                name = await self._name(request, each, detector)
            kept = name == each.line.name
            history.append(each if kept else replace(each, line=replace(each.line, name=name)))
        return history

    async def _name(self, request: ReplyRequest, said: HistoryLine, detector: Detector) -> str:
        line, rules = said.line, request.settings.profanity
        look = (line.name, rules.threshold, detector)
        matches = self._find(*look)
        if not matches:
            return line.name
        masked = rules.policy is not AnswerPolicy.LOG
        known = (look, (str(request.key), line.author_id, rules.policy))
        if not self._logged.get(known):
            await self._log.said(
                Direction.NAME,
                request.key,
                line.author_id,
                line.name,
                matches,
                policy=rules.policy,
                outcome=Shown.MASKED if masked else Shown.SHOWN,
            )
        _remember(self._logged, known, value=True)
        return with_masks(line.name, matches) if masked else line.name

    def _find(self, name: str, threshold: int, detector: Detector) -> Sequence[Match]:
        look = (name, threshold, detector)
        found = self._found.get(look)
        if found is None:
            found = [match for match in detector.find(name) if match.severity >= threshold]
        _remember(self._found, look, found)
        return found


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep a value as the newest one; the one that was of use the longest ago gives way."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > MAX_NAMES:
        memory.popitem(last=False)


def with_masks(text: str, matches: Sequence[Match]) -> str:
    """Return `text` with ○○ for each match; matches are in order and apart."""
    pieces: list[str] = []
    at = 0
    for match in matches:
        pieces += (text[at : match.start], MASK)
        at = match.end
    return "".join((*pieces, text[at:]))
