"""The profanity log: every hit is on disk before anybody sees what it was found in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Literal

import structlog

from kogpt_bot.clock import Clock
from kogpt_bot.conversation.manager import Outcome, ReplyRequest
from kogpt_bot.messages import ChannelKey
from kogpt_bot.moderation.detector import Match
from kogpt_bot.moderation.file import HitFile
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.store import JsonValue
from kogpt_bot.store.profanity import ProfanityTable
from kogpt_bot.store.profanity_values import Direction, Finding, Hit, HitText
from kogpt_bot.store.profanity_values import Outcome as Shown

log = structlog.get_logger(__name__)

Kept = Literal["full", "redacted", "hashed"]
HIDDEN = "·"  # stands for a letter or digit that was redacted
MAX_AROUND = 20  # characters of its word that are kept on each side of a match


class ProfanityLog:
    """Writes hits down, as much of their texts as the owner wants to keep.

    `heard` is told of new hits once they are on disk; it must return at once.
    """

    def __init__(
        self,
        table: ProfanityTable,
        pseudonyms: Pseudonyms,
        clock: Clock,
        *,
        kept: Kept = "full",
        file: HitFile | None = None,
        heard: Callable[[Sequence[Hit]], None] | None = None,
    ) -> None:
        self.table = table
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._kept = kept
        self._file = file
        self._heard = heard

    def answer(self, request: ReplyRequest) -> AnswerRecord:
        """Begin the record of one answer; nothing is written unless something is found."""
        question = request.history[-1]
        people = sorted(
            {
                self._pseudonyms.person(request.key.adapter, each.line.author_id)
                for each in request.history
                if not each.line.by_this_bot
            }
        )
        base = HitText(
            at=self._clock.now(),
            channel=str(request.key),
            direction=Direction.ANSWER,
            policy=request.settings.profanity.policy,
            outcome=Shown.SHOWN,
            digest="",
            text="",
            kept=self._kept,
            message=str(question.id),
            person=self._pseudonyms.person(request.key.adapter, question.line.author_id),
            people=" ".join(people),
            complete=False,
        )
        return AnswerRecord(self, base)

    async def said(
        self,
        direction: Direction,
        key: ChannelKey,
        author_id: str,
        text: str,
        matches: Sequence[Match],
        *,
        policy: str,
        outcome: Shown,
        message: str = "",
    ) -> bool:
        """Log what somebody wrote, or is called; returns False where it is in the log already."""
        person = self._pseudonyms.person(key.adapter, author_id)
        row = HitText(
            at=self._clock.now(),
            channel=str(key),
            direction=direction,
            policy=policy,
            outcome=outcome,
            digest=self._pseudonyms.text(text),
            text=self._keep(text, matches),
            kept=self._kept,
            message=message,
            person=person,
            people=person,
        )
        _, hits = await self.table.record(row, self._findings(text, matches))
        await self._tell(hits)
        return bool(hits)

    def _findings(self, text: str, matches: Iterable[Match]) -> list[Finding]:
        return [_finding(text, match, self._kept) for match in matches]

    def _keep(self, text: str, matches: Iterable[Match] = ()) -> str:
        """Return what is stored of a text."""
        if self._kept == "hashed":
            return self._pseudonyms.text(text) if text else ""
        if self._kept == "redacted":
            return redacted(text, [_word_span(text, match.start, match.end) for match in matches])
        return text

    async def _tell(self, hits: Sequence[Hit]) -> None:
        if hits and self._file is not None:
            try:
                await asyncio.to_thread(self._file.write, hits)
            except OSError as error:  # the table has it; a full disk must not silence the bot
                log.error("profanity_file_failed", why=str(error))  # noqa: TRY400
        for hit in hits:
            log.info(
                "profanity_found",
                hit=hit.id,
                adapter=hit.text.channel.split("/")[0],
                direction=hit.text.direction.value,
                severity=hit.found.severity,
                rule=hit.found.rule,
                outcome=hit.text.outcome.value,
            )
        if hits and self._heard is not None:
            self._heard(hits)


class AnswerRecord:
    """What is found in one answer while it is written."""

    def __init__(self, owner: ProfanityLog, base: HitText) -> None:
        self._owner = owner
        self._row = base
        self._matches: list[Match] = []

    async def note(
        self, matches: Sequence[Match], text: str, outcome: Outcome, shown: Shown
    ) -> None:
        """Log matches of the answer, whose text is `text` so far, before it is shown."""
        if not matches:
            return
        self._matches += matches
        findings = self._owner._findings(text, matches)
        self._row = replace(self._filled(text, outcome), outcome=shown)
        if self._row.id:
            hits = await self._owner.table.append(self._row, findings)
        else:
            self._row, hits = await self._owner.table.record(self._row, findings)
        await self._owner._tell(hits)

    async def close(self, text: str, outcome: Outcome) -> None:
        """Write down all of the text that was written; nothing where nothing was found."""
        if self._row.id:
            await self._owner.table.complete(self._filled(text, outcome))

    def _filled(self, text: str, outcome: Outcome) -> HitText:
        keep, ask = self._owner._keep, outcome.ask
        request: dict[str, JsonValue] | None = None
        if ask is not None and self._owner._kept == "full":
            request = {"prompt_ids": [*ask.prompt.ids], "stops": [*ask.prompt.stops]}
        return replace(
            self._row,
            digest=self._owner._pseudonyms.text(text),
            text=keep(text, self._matches),
            prompt=keep(outcome.prompt),
            generated=keep(outcome.generated),
            model=outcome.model,
            revision=outcome.revision,
            seed=outcome.seed,
            sampling=asdict(ask.sampling) if ask else None,
            request=request,
        )


def redacted(text: str, keep: Iterable[tuple[int, int]]) -> str:
    """Return `text` with a dot for every letter and digit outside the spans in `keep`."""
    pieces: list[str] = []
    at = 0
    for start, end in sorted(keep):
        pieces += (_dotted(text[at:start]), text[max(at, start) : end])
        at = max(at, end)
    return "".join((*pieces, _dotted(text[at:])))


def _dotted(text: str) -> str:
    return "".join(HIDDEN if char.isalnum() else char for char in text)


def _finding(text: str, match: Match, kept: Kept) -> Finding:
    start, end = _word_span(text, match.start, match.end)
    return Finding(
        match.start,
        match.end,
        "" if kept == "hashed" else match.text,
        "" if kept == "hashed" else text[start:end],
        match.canonical,
        match.category.value,
        match.severity,
        match.rule,
    )


def _word_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span of the words that a match stands in: from space to space."""
    left, right = max(0, start - MAX_AROUND), min(len(text), end + MAX_AROUND)
    while start > left and not text[start - 1].isspace():
        start -= 1
    while end < right and not text[end].isspace():
        end += 1
    return start, end
