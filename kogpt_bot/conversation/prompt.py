"""From a conversation to a prompt: token ids within an exact budget, and the stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import regex

from kogpt_bot.conversation import transcript
from kogpt_bot.conversation.chat_template import ChatTemplate
from kogpt_bot.conversation.persona import Persona
from kogpt_bot.conversation.speakers import Line, distinct_names
from kogpt_bot.conversation.tokens import TokenCodec

MAX_STOPS = 16  # the people who spoke last; a server may refuse more
CUT_MARK = " … "
MAX_CHARS = 65_536  # of a message that is shortened


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to the model. `speakers` are the names whose lines end the bot's answer."""

    ids: tuple[int, ...]
    text: str
    stops: tuple[str, ...]
    speakers: tuple[str, ...]


class PromptBuilder:
    """Builds the prompts of one persona, for one tokenizer and one budget (tokens, prompt only)."""

    def __init__(
        self,
        persona: Persona,
        codec: TokenCodec,
        budget: int,
        chat_template: ChatTemplate | None = None,
    ) -> None:
        self._codec = codec
        self._template = chat_template
        self._budget = budget
        self._persona = self._fitting(persona)

    def _fitting(self, persona: Persona) -> Persona:
        """Leave half of the budget to the conversation: examples go first, then the description."""
        half = self._budget // 2
        if self._size(persona, ()) > half:
            persona = replace(persona, examples=())
        if self._size(persona, ()) > half:
            fits = _longest(
                persona.description,
                lambda text: self._size(replace(persona, description=text), ()) <= half,
            )
            persona = replace(persona, description=fits)
        return persona

    @property
    def room(self) -> int:
        """How many tokens are left for the messages."""
        return self._budget - self._size(self._persona, ())

    def cost(self, line: Line) -> int:
        """Return about how many tokens a message takes; the whole prompt is counted exactly."""
        return len(self._codec.encode(transcript.line(line.name, line.text))) + 1

    def build(self, lines: Sequence[Line]) -> Prompt:
        """Return the prompt for the newest of `lines`, dropping the oldest where needed.

        The prompt never exceeds the budget, and the newest message is always in it, shortened
        where it alone is too long. ValueError for no lines.
        """
        if not lines:
            raise ValueError("a prompt needs a message to answer")
        names = distinct_names(lines, self._persona.name)
        kept = list(lines)
        while len(kept) > 1 and self._size(self._persona, kept, names) > self._budget:
            kept.pop(0)
        if self._size(self._persona, kept, names) > self._budget:
            newest = kept[0]
            text = _longest(
                newest.text,
                lambda text: (
                    self._size(self._persona, [replace(newest, text=text)], names) <= self._budget
                ),
            )
            kept = [replace(newest, text=text)]
        ids, text = self._render(self._persona, kept, names)
        speakers = self._speakers(kept, names)
        stops = tuple(f"\n{name}:" for name in speakers)
        return Prompt(tuple(ids), text, stops, speakers)

    def _size(
        self, persona: Persona, lines: Sequence[Line], names: dict[str, str] | None = None
    ) -> int:
        return len(self._render(persona, lines, names or {})[0])

    def _render(
        self, persona: Persona, lines: Sequence[Line], names: dict[str, str]
    ) -> tuple[list[int], str]:
        if self._template is not None:
            return self._template.render(persona, lines, names, self._codec)
        turns = "".join(
            transcript.line(persona.name if each.by_this_bot else names[each.author_id], each.text)
            for each in lines
        )
        text = transcript.header(persona) + turns + transcript.cue(persona.name)
        return self._codec.encode(text), text

    def _speakers(self, lines: Sequence[Line], names: dict[str, str]) -> tuple[str, ...]:
        """Return the people, the last to speak first, then those of the examples, then the bot."""
        found: dict[str, None] = {}
        for each in reversed(lines):
            if not each.by_this_bot:
                found.setdefault(names[each.author_id])
        people = list(found)[: MAX_STOPS - 1]
        bot = transcript.speaker_name(self._persona.name)
        for example in self._persona.examples:
            name = transcript.speaker_name(example.speaker)
            if name != bot and name not in people and len(people) < MAX_STOPS - 1:
                people.append(name)
        return (*people, bot)


def _longest(text: str, fits: Callable[[str], bool]) -> str:
    """Return the longest shortening of `text` that fits: its beginning and its end.

    Graphemes stay whole; the empty text where nothing fits.
    """
    if len(text) > MAX_CHARS:  # a bound for the work, far above any budget
        text = text[: MAX_CHARS // 2] + text[-MAX_CHARS // 2 :]
    graphemes = regex.findall(r"\X", text)

    def shortened(count: int) -> str:
        if count >= len(graphemes):
            return text
        head, tail = count - count // 3, count // 3
        end = graphemes[len(graphemes) - tail :]
        return "".join(graphemes[:head]) + CUT_MARK + "".join(end)

    low, high = 0, len(graphemes)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(shortened(middle)):
            low = middle
        else:
            high = middle - 1
    if low:
        return shortened(low)
    return ""
