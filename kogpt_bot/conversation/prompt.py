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
        if budget < 1:
            raise ValueError(f"a prompt needs a budget of one token at least, not {budget}")
        self._codec = codec
        self._template = chat_template
        self._budget = budget
        self._persona = self._fitting(persona)
        self._header = self._size(self._persona, ())

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
        return self._budget - self._header

    def cost(self, line: Line) -> int:
        """Return about how many tokens a message takes; the whole prompt is counted exactly."""
        return len(self._codec.encode(transcript.line(line.name, line.text))) + 1

    def taken(self, lines: Sequence[Line], names: dict[str, str]) -> int:
        """Return how many of the `room` tokens these lines take, exactly."""
        return self._size(self._persona, lines, names) - self._header

    def fits(self, lines: Sequence[Line], names: dict[str, str]) -> bool:
        """Return whether the prompt for these lines is within the budget, counted exactly."""
        return self._size(self._persona, lines, names) <= self._budget

    def build(self, lines: Sequence[Line], names: dict[str, str] | None = None) -> Prompt:
        """Return the prompt for the newest of `lines`, dropping the oldest where needed.

        `names` are the speakers' (`distinct_names`). The prompt never exceeds the budget, and the
        newest message is always in it, shortened where it alone is too long. ValueError for no
        lines.
        """
        if not lines:
            raise ValueError("a prompt needs a message to answer")
        if names is None:
            names = distinct_names(lines, self._persona.name)
        kept = list(lines)
        while len(kept) > 1 and not self.fits(kept, names):
            kept.pop(0)
        if not self.fits(kept, names):
            kept, names = self._shortened(kept[0], names)
        ids, text = self._render(self._persona, kept, names)
        speakers = self._speakers(kept, names)
        stops = tuple(f"\n{name}:" for name in speakers)
        # In a budget that not even the labels fit into, the end is what the model goes on from.
        return Prompt(tuple(ids[-self._budget :]), text, stops, speakers)

    def _shortened(self, line: Line, names: dict[str, str]) -> tuple[list[Line], dict[str, str]]:
        """Return the newest message as far as it fits, under a short name if need be."""
        if not self.fits([replace(line, text="")], names):
            names = {**names, line.author_id: transcript.NAMELESS}
        text = _longest(line.text, lambda text: self.fits([replace(line, text=text)], names))
        return [replace(line, text=text)], names

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

    Graphemes stay whole, unless not one fits (zalgo); the empty text where nothing fits.
    """
    if len(text) > MAX_CHARS:  # a bound for the work, far above any budget
        text = text[: MAX_CHARS // 2] + CUT_MARK + text[-MAX_CHARS // 2 :]
    return _most(regex.findall(r"\X", text), fits) or _most(list(text), fits)


def _most(units: Sequence[str], fits: Callable[[str], bool]) -> str:
    """Return as many of the units as fit, two thirds of them from the beginning."""

    def shortened(count: int) -> str:
        if count in (0, len(units)):
            return "".join(units[:count])
        head, tail = count - count // 3, count // 3
        return "".join(units[:head]) + CUT_MARK + "".join(units[len(units) - tail :])

    low, high = 0, len(units)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(shortened(middle)):
            low = middle
        else:
            high = middle - 1
    return shortened(low)
