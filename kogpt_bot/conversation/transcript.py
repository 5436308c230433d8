"""The transcript a base model reads: a header, then one line per turn, `이름: 말`.

Both the conversation manager and the training of the bundled model write transcripts with this
module, so what the model learned is what it is asked. Nobody can forge a turn: a turn is exactly
one line, and neither a name nor a text can hold a line break or, in a name, a colon.
"""

from __future__ import annotations

import regex

from kogpt_bot.conversation.persona import Persona

MAX_NAME_CHARS = 24  # longer nicknames waste the window; Discord allows 32
NAMELESS = "손님"  # a name of nothing but symbols we drop

# Everything that Unicode or a tokenizer may take for the end of a line.
_LINE_BREAKS = regex.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
# Controls, bidirectional and tag characters, zero-width ones, private use; all but the joiner that
# holds emoji sequences together. `regex` knows a newer Unicode than Python, thus newer emoji.
_HIDDEN = regex.compile(r"[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}--[\t\n\u200d]]", regex.V1)
# What looks like a colon in any script, and letters that look like nothing (Hangul fillers).
_NOT_IN_NAMES = regex.compile(
    r"[:：﹕︰︓꞉˸∶ː։׃܃܄᛬᠃⁚⦂፥፦\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5]"
)
_SPACES = regex.compile(r"\s+")
_SEEN = regex.compile(r"[^\p{M}\p{Z}\u200d]")


def speaker_name(name: str) -> str:
    """Return `name` as it may stand before a colon: one line, no colon, at most 24 characters."""
    clean = visible(_LINE_BREAKS.sub(" ", name))
    clean = _SPACES.sub(" ", _NOT_IN_NAMES.sub(" ", clean)).strip()
    clean = cut(clean, MAX_NAME_CHARS).strip("\u200d\ufe0f ")
    return clean if _SEEN.search(clean) else NAMELESS


def utterance(text: str) -> str:
    """Return `text` as one line: line breaks and runs of white space become one space."""
    return _SPACES.sub(" ", visible(_LINE_BREAKS.sub(" ", text))).strip()


def visible(text: str) -> str:
    """Return `text` without the characters that nobody sees; tabs and newlines stay."""
    return _HIDDEN.sub("", text)


def cut(text: str, limit: int) -> str:
    """Return the beginning of `text`: at most `limit` characters, no grapheme cut in two.

    A grapheme that alone is longer (zalgo) is cut.
    """
    end = 0
    for grapheme in regex.finditer(r"\X", text):
        if grapheme.end() > limit:
            break
        end = grapheme.end()
    return text[: end or limit]


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
