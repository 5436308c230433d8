"""Prompts for instruct models: the model's own chat template, contents kept apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kogpt_bot.conversation.persona import Persona
from kogpt_bot.conversation.speakers import Line
from kogpt_bot.conversation.tokens import TokenCodec
from kogpt_bot.conversation.transcript import utterance
from kogpt_bot.errors import ConfigurationError

# Private-use characters that stand for the contents while the template is rendered, so that its
# own control tokens and what people wrote are encoded apart: nobody can write a control token.
_MARK = re.compile("\ue000(\\d+)\ue001")
# What a template that we did not write may raise while it is rendered.
_FAULTS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)

Message = dict[str, str]


class ChatTemplate:
    """A Jinja chat template, run in a sandbox. `special` are bos_token, eos_token and the like."""

    def __init__(self, source: str, special: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ConfigurationError(f"the model's chat template is broken: {error}") from error
        self._special = special

    def render(
        self, persona: Persona, lines: Sequence[Line], names: dict[str, str], codec: TokenCodec
    ) -> tuple[list[int], str]:
        """Return the prompt's ids and its text; in a group, names stand before what is said."""
        contents: list[str] = []

        def hold(content: str) -> str:
            contents.append(content)
            return f"\ue000{len(contents) - 1}\ue001"

        group = len(names) > 1
        messages: list[Message] = [
            {"role": "system", "content": hold(utterance(persona.description))}
        ]
        for example in persona.examples:
            role = "assistant" if example.speaker == persona.name else "user"
            _say(messages, role, utterance(example.text), hold)
        for line in lines:
            text = utterance(line.text)
            if line.by_this_bot:
                _say(messages, "assistant", text, hold)
            else:
                said = f"{names.get(line.author_id, '')}: {text}" if group else text
                _say(messages, "user", said, hold)
        parts = _MARK.split(self._rendered(messages))
        if lines and str(len(contents) - 1) not in parts[1::2]:
            raise ConfigurationError("the model's chat template leaves out what was said")
        ids: list[int] = []
        text = ""
        for index, part in enumerate(parts):
            content = contents[int(part)] if index % 2 else part
            ids += codec.encode(content) if index % 2 else codec.encode_control(content)
            text += content
        return ids, text

    def _rendered(self, messages: list[Message]) -> str:
        """Render; a template that refuses the messages gets them in the strictest form."""
        try:
            try:
                return self._render(messages)
            except TemplateError:
                return self._render(_strict(messages))
        except _FAULTS as error:
            raise ConfigurationError(f"the model's chat template failed: {error}") from error

    def _render(self, messages: list[Message]) -> str:
        return self._template.render(messages=messages, add_generation_prompt=True, **self._special)


def _strict(messages: list[Message]) -> list[Message]:
    """Return the messages with no system role, a user's first, the roles in turns."""
    system, *turns = messages
    while len(turns) > 1 and turns[0]["role"] == "assistant":
        del turns[0]
    if not turns:
        return [{"role": "user", "content": system["content"]}]
    first = {"role": "user", "content": f"{system['content']}\n\n{turns[0]['content']}"}
    return [first, *turns[1:]]


def _say(messages: list[Message], role: str, text: str, hold: Callable[[str], str]) -> None:
    """Append a message; two of one role in a row become one, since most templates want turns."""
    held = hold(text)
    if messages[-1]["role"] == role:
        messages[-1]["content"] += "\n" + held
    else:
        messages.append({"role": role, "content": held})


def _refuse(message: str) -> None:
    raise TemplateError(message)
