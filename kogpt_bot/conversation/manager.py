"""The conversation manager: the history of one channel in, the bot's answer out.

    manager = ConversationManager(generate, new_seed)
    reply = manager.reply(request)          # settings, persona, history, tokenizer
    async for text in reply:                # pieces to show; never taken back
        ...
    reply.outcome                           # how it came about, for the record

It knows no platform, no database and no clock. An empty or echoing answer is asked for once
more with another seed, then the persona's fallback line answers: never silence. Errors of the
generation service pass through, typed; delivery decides about them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from kogpt_bot.conversation.chat_template import ChatTemplate
from kogpt_bot.conversation.persona import Persona
from kogpt_bot.conversation.prompt import Prompt, PromptBuilder
from kogpt_bot.conversation.reply import ReplyFilter
from kogpt_bot.conversation.settings import ChannelSettings, PromptStyle, Sampling
from kogpt_bot.conversation.speakers import Line, distinct_names
from kogpt_bot.conversation.tokens import TokenCodec
from kogpt_bot.conversation.window import choose_start
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import ChannelKey

ATTEMPTS = 2
SEEDS = 2**63  # the service takes seeds below this
MAX_WINDOWS = 10_000  # channels whose window's start is remembered


@dataclass(frozen=True, slots=True)
class ServingModel:
    """What must be known of the model: its name, its context (tokens), its tokenizer."""

    name: str
    context_length: int
    codec: TokenCodec
    chat_template: ChatTemplate | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One message of the channel, with the id that the store gave it."""

    id: int
    line: Line


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """One message to be answered: the newest of `history`, which is this channel's alone."""

    key: ChannelKey
    settings: ChannelSettings
    persona: Persona
    history: Sequence[HistoryLine]
    model: ServingModel
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What the generation service is asked for."""

    prompt: Prompt
    sampling: Sampling
    seed: int
    key: ChannelKey
    priority: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the model's text; the last one says why it ended."""

    text: str
    finish_reason: str = ""


class Generate(Protocol):
    """The way to the generation service; raises the subclasses of GenerationError."""

    def __call__(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """Stream the continuation."""
        ...


@dataclass(slots=True)
class Outcome:
    """How an answer came about: with these the same text can be produced again."""

    model: str = ""
    revision: str = ""
    ask: Ask | None = None  # the last one
    prompt: str = ""
    prompt_tokens: int = 0
    generated: str = ""  # as the model wrote it, before it was cleaned
    seed: int | None = None
    finish_reason: str = ""
    attempts: int = 0
    fallback: bool = False


class Reply:
    """One answer, to be iterated over once; `outcome` is complete when the iteration ends."""

    def __init__(self, pieces: Callable[[Outcome], AsyncIterator[str]]) -> None:
        self.outcome = Outcome()
        self._pieces = pieces(self.outcome)

    def __aiter__(self) -> AsyncIterator[str]:
        """Return the pieces to show."""
        return self._pieces


class ConversationManager:
    """Builds prompts and turns the model's stream into answers."""

    def __init__(self, generate: Generate, new_seed: Callable[[], int]) -> None:
        self._generate = generate
        self._new_seed = new_seed
        self._starts: OrderedDict[ChannelKey, int] = OrderedDict()

    def prompt(self, request: ReplyRequest) -> Prompt:
        """Return the prompt for the newest message of the history."""
        settings, model = request.settings, request.model
        template = None
        if settings.prompt.style is PromptStyle.CHAT:
            template = model.chat_template
            if template is None:
                raise ConfigurationError(
                    f"prompt.style: the model {model.name} brings no chat template; "
                    "allowed here: transcript"
                )
        budget = model.context_length - min(
            settings.sampling.max_new_tokens, model.context_length // 2
        )
        if settings.context.max_tokens is not None:
            budget = min(budget, settings.context.max_tokens)
        builder = PromptBuilder(request.persona, model.codec, max(budget, 1), template)
        # The names of everyone in the history: a person keeps theirs when the window is cut.
        names = distinct_names((each.line for each in request.history), request.persona.name)
        return builder.build(self._window(request, builder, names), names)

    def _window(
        self, request: ReplyRequest, builder: PromptBuilder, names: dict[str, str]
    ) -> list[Line]:
        ids = [each.id for each in request.history]
        lines = [each.line for each in request.history]
        start = choose_start(
            ids,
            lambda index: builder.cost(lines[index]),
            lambda index: builder.taken(lines[index:], names),
            builder.room,
            start_id=self._starts.get(request.key),
            limit=request.settings.context.max_messages,
        )
        if ids:
            self._starts[request.key] = ids[start]
            self._starts.move_to_end(request.key)
            if len(self._starts) > MAX_WINDOWS:
                self._starts.popitem(last=False)
        return lines[start:]

    def reply(self, request: ReplyRequest) -> Reply:
        """Return the answer to the newest message."""
        return Reply(lambda outcome: self._pieces(request, outcome))

    async def _pieces(self, request: ReplyRequest, outcome: Outcome) -> AsyncIterator[str]:
        prompt = self.prompt(request)
        outcome.model, outcome.revision = request.model.name, request.model.revision
        outcome.prompt, outcome.prompt_tokens = prompt.text, len(prompt.ids)
        fixed = request.settings.sampling.seed
        for attempt in range(ATTEMPTS):
            seed = self._new_seed() if fixed is None else (fixed + attempt) % SEEDS
            outcome.attempts, outcome.seed = attempt + 1, seed
            outcome.generated = outcome.finish_reason = ""
            given = False
            async with aclosing(self._attempt(request, prompt, seed, outcome)) as pieces:
                async for text in pieces:
                    given = True
                    yield text
            if given:
                return
        outcome.fallback = True
        lines = request.persona.fallback_lines
        yield lines[(outcome.seed or 0) % len(lines)]

    async def _attempt(
        self, request: ReplyRequest, prompt: Prompt, seed: int, outcome: Outcome
    ) -> AsyncGenerator[str, None]:
        """Give the cleaned pieces of one attempt; none at all for an empty or echoing one."""
        cleaner = ReplyFilter(
            prompt.speakers[-1],
            prompt.speakers,
            multiline=request.settings.prompt.multiline,
            echoes=_echoes(request.history),
        )
        sampling = request.settings.sampling
        left = request.model.context_length - len(prompt.ids)  # a service may refuse to go beyond
        sampling = replace(sampling, max_new_tokens=max(min(sampling.max_new_tokens, left), 1))
        ask = Ask(prompt, sampling, seed, request.key, request.priority)
        outcome.ask = ask
        async with aclosing(self._generate(ask)) as stream:
            async for piece in stream:
                outcome.generated += piece.text
                outcome.finish_reason = piece.finish_reason or outcome.finish_reason
                if text := cleaner.feed(piece.text):
                    yield text
                if cleaner.done:
                    outcome.finish_reason = outcome.finish_reason or "stop"
                    break
        if text := cleaner.finish():
            yield text


def _echoes(history: Sequence[HistoryLine]) -> list[str]:
    """Return what an answer must not merely repeat: the question, and an answer given twice."""
    found = [history[-1].line.text]
    own = [each.line.text for each in history if each.line.by_this_bot][-2:]
    if len(own) == 2 and own[0] == own[1]:
        found.append(own[0])
    return found
