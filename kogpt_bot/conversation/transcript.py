"""The transcript a base model reads: a header, then one line per turn, `이름: 말`.

Both the conversation manager and the training of the bundled model write transcripts with this
module, so what the model learned is what it is asked. Nobody can forge a turn: a turn is exactly
one line, and neither a name nor a text can hold a line break or, in a name, a colon.
"""

from __future__ import annotations

import re
import unicodedata

from kogpt_bot.conversation.persona import Persona

MAX_NAME_CHARS = 24  # longer nicknames waste the window; Discord allows 32
NAMELESS = "손님"  # a name of nothing but symbols we drop

# Everything that Unicode or a tokenizer may take for the end of a line.
_LINE_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_COLONS = re.compile(r"[:：﹕︰꞉˸∶ː]")
_SPACES = re.compile(r"\s+")


def speaker_name(name: str) -> str:
    """Return `name` as it may stand before a colon: one line, no colon, at most 24 characters."""
    clean = "".join(c for c in name if unicodedata.category(c) not in _HIDDEN or c in _JOINERS)
    clean = _SPACES.sub(" ", _COLONS.sub(" ", clean)).strip()
    return clean[:MAX_NAME_CHARS].strip("\u200d\ufe0f ") or NAMELESS


_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200d")  # holds emoji sequences together


def utterance(text: str) -> str:
    """Return `text` as one line: line breaks and runs of white space become one space."""
    clean = _LINE_BREAKS.sub(" ", text)
    clean = "".join(c for c in clean if c in "\t\u200d" or unicodedata.category(c) not in _HIDDEN)
    return _SPACES.sub(" ", clean).strip()


def header(persona: Persona) -> str:
    """Return the persona's description and example dialogue, ending in an empty line."""
    lines = "".join(line(example.speaker, example.text) for example in persona.examples)
    return f"{utterance(persona.description)}\n\n{lines}"


def line(name: str, text: str) -> str:
    """Return one turn: `이름: 말` and a line break."""
    return f"{speaker_name(name)}: {utterance(text)}\n"


def cue(name: str) -> str:
    """Return the start of the bot's next line; no space after the colon, so that the model's
    first token may carry it (byte-level BPE joins a space to the word after it)."""
    return f"{speaker_name(name)}:"
