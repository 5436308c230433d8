"""Every generated text passes here before it is shown: screened, logged, and handled.

    answers = ScreenedAnswers(manager, detectors, log, blocked)
    answer = answers.reply(request)         # what the conversation manager gives, screened
    async for text in answer: ...           # only what the channel's policy lets people see

`log` and `mask` stream: text is held back for a few characters, so that a word is known before its
first letter shows. `regenerate` and `block` show nothing before the whole answer was screened:
what a person has seen cannot be taken back. The persona's fallback lines and notices are ours and
pass as they are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from kogpt_bot.conversation.manager import (
    ATTEMPTS,
    SEEDS,
    Outcome,
    Reply,
    ReplyRequest,
)
from kogpt_bot.conversation.settings import AnswerPolicy
from kogpt_bot.errors import GenerationError
from kogpt_bot.moderation.detector import Detector, Match
from kogpt_bot.moderation.detectors import Detectors
from kogpt_bot.moderation.log import ProfanityLog
from kogpt_bot.moderation.names import NameScreen
from kogpt_bot.moderation.screen import StreamScreen, masked
from kogpt_bot.store.profanity_values import Outcome as Shown


class Replies(Protocol):
    """Where answers come from: the conversation manager."""

    def reply(self, request: ReplyRequest) -> Reply:
        """Return the answer to the newest message."""
        ...


class ScreenedAnswers:
    """The only way from the conversation manager to delivery."""

    def __init__(
        self,
        replies: Replies,
        detectors: Detectors,
        log: ProfanityLog,
        blocked: Callable[[ReplyRequest], str],
    ) -> None:
        self._replies = replies
        self._detectors = detectors
        self._log = log
        self._blocked = blocked  # what is said in place of an answer
        self._names = NameScreen(log)

    def reply(self, request: ReplyRequest) -> ScreenedReply:
        """Return the answer to the newest message, as it may be shown."""
        return ScreenedReply(self, request)


class ScreenedReply:
    """One answer, to be iterated over once; `outcome` is that of the last attempt."""

    def __init__(self, owner: ScreenedAnswers, request: ReplyRequest) -> None:
        self._owner = owner
        self._request = request
        self._rules = request.settings.profanity
        self._reply: Reply | None = None

    @property
    def outcome(self) -> Outcome:
        """How the answer came about, as far as it has come."""
        return Outcome() if self._reply is None else self._reply.outcome

    def __aiter__(self) -> AsyncGenerator[str, None]:
        """Return the pieces to show."""
        return self._pieces()

    async def _pieces(self) -> AsyncGenerator[str, None]:
        owner, rules = self._owner, self._rules
        detector = await owner._detectors.of(self._request.key, rules)
        history = await owner._names.clean(self._request, detector)
        self._request = replace(self._request, history=history)
        streams = rules.policy in (AnswerPolicy.LOG, AnswerPolicy.MASK)
        pieces = self._streamed(detector) if streams else self._whole(detector)
        async with aclosing(pieces):
            async for text in pieces:
                yield text

    async def _streamed(self, detector: Detector) -> AsyncGenerator[str, None]:
        """Give the text while it is written, with ○○ for what is not to be seen."""
        masks = self._rules.policy is AnswerPolicy.MASK
        screen = StreamScreen(
            detector, threshold=self._rules.threshold, show=masked if masks else _as_written
        )
        attempt = _Attempt(self, self._request, screen, Shown.MASKED if masks else Shown.SHOWN)
        async with aclosing(attempt.pieces()) as pieces:
            async for text in pieces:
                yield text

    async def _whole(self, detector: Detector) -> AsyncGenerator[str, None]:
        """Give the first answer in which nothing is found, else a line of our own."""
        regenerates = self._rules.policy is AnswerPolicy.REGENERATE
        last = self._rules.attempts if regenerates else 0
        for number in range(last + 1):
            shown = Shown.REGENERATED
            if number == last:
                shown = Shown.FALLBACK if regenerates else Shown.BLOCKED
            screen = StreamScreen(detector, threshold=self._rules.threshold)
            attempt = _Attempt(self, _reseeded(self._request, number), screen, shown)
            text = ""
            async with aclosing(attempt.pieces()) as pieces:
                async for piece in pieces:
                    text += piece
                    if attempt.found:  # the rest of it is not wanted
                        break
            if not attempt.found:
                yield text
                return
        self.outcome.fallback = True
        yield self._fallback() if regenerates else self._owner._blocked(self._request)

    def _fallback(self) -> str:
        lines = self._request.persona.fallback_lines
        return lines[(self.outcome.seed or 0) % len(lines)]


class _Attempt:
    """One text of the model's on its way through the screen; `found` counts the hits."""

    def __init__(
        self, owner: ScreenedReply, request: ReplyRequest, screen: StreamScreen, shown: Shown
    ) -> None:
        self.found = 0
        self._reply = owner._reply = owner._owner._replies.reply(request)
        self._record = owner._owner._log.answer(request)
        self._threshold = request.settings.profanity.threshold
        self._screen = screen
        self._shown = shown
        self._text = ""

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Give what may be shown; each hit is logged before the text around it is given."""
        given = False
        try:
            async with aclosing(_generator(aiter(self._reply))) as pieces:
                async for piece in pieces:
                    if self._reply.outcome.fallback:
                        yield piece  # the persona's own line, after an answer without a letter
                        continue
                    self._text += piece
                    if text := await self._passed(*self._screen.feed(piece)):
                        given = True
                        yield text
            if text := await self._passed(*self._screen.finish()):
                yield text
        except GenerationError:
            # What people have begun to read is completed as far as it goes; else all is tried anew.
            if given and (text := await self._passed(*self._screen.finish())):
                yield text
            raise
        finally:
            await self._record.close(self._text, self._reply.outcome)

    async def _passed(self, text: str, matches: Sequence[Match]) -> str:
        hits = [match for match in matches if match.severity >= self._threshold]
        self.found += len(hits)
        await self._record.note(hits, self._text, self._reply.outcome, self._shown)
        return text


async def _generator(pieces: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    """Make a generator, which can be closed, of any iterator."""
    try:
        async for piece in pieces:
            yield piece
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


def _as_written(match: Match) -> str:
    return match.text


def _reseeded(request: ReplyRequest, number: int) -> ReplyRequest:
    """Return the request for another attempt: a seed that is fixed moves on."""
    sampling = request.settings.sampling
    if number == 0 or sampling.seed is None:
        return request
    seed = (sampling.seed + number * ATTEMPTS) % SEEDS
    settings = replace(request.settings, sampling=replace(sampling, seed=seed))
    return replace(request, settings=settings)
