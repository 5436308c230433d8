"""Strict YAML: plain values with the place of each; no aliases, no doubled keys, no surprises.

Only `true`, `false`, `null`, decimal numbers and text are recognised, so that `no`, `on`, `010` or
`12:30` are never silently something else.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES = 1 << 20
MAX_DEPTH = 16  # ours needs 6; the parser recurses, and must not run out of stack
MAX_KEY_CHARS = 200
MAX_INT_DIGITS = 19  # 64 bits; longer ones are read as floating point

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_PLAIN = {  # kind: what it looks like, and how it may begin ("" is the empty scalar)
    "bool": (re.compile(r"true|false"), "tf"),
    "null": (re.compile(r"null|~|"), ("n", "~", "")),
    "int": (re.compile(r"-?(?:0|[1-9][0-9]*)"), "-0123456789"),
    "float": (re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"), "-0123456789"),
}
# No file name, message or prompt can hold these; escapes such as "\ud800" or "\0" write them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """The values, the place of each, and what is wrong with the YAML itself."""

    value: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    faults: list[tuple[Mark, str, str]] = field(default_factory=list)  # mark, key, message

    def mark(self, path: Path) -> Mark:
        """Return the place of a value, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.marks:
                return self.marks[path[:end]]
        return Mark(1, 1)


class _Loader(yaml.SafeLoader):
    """Recognises only what is unambiguous."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _kind, (_pattern, _first) in _PLAIN.items():
    _whole = re.compile(f"^(?:{_pattern.pattern})$")
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", _whole, list(_first))


def read(content: bytes) -> Document:
    """Return the document; what is wrong is in its `faults`."""
    document = Document()
    if len(content) > MAX_BYTES:
        document.faults.append((Mark(1, 1), "", f"larger than {MAX_BYTES} bytes"))
        return document
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = error.object[: error.start].decode("utf-8")  # `object` is without a BOM
        document.faults.append((_place(good, len(good)), "", "not UTF-8; save the file as UTF-8"))
        return document
    try:
        _refuse_structure(text, document)
        node = None if document.faults else yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _mark(mark) if mark else Mark(1, 1)
        document.faults.append((place, "", f"not YAML: {error.problem or error.context}"))
    except yaml.reader.ReaderError as error:
        message = f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        document.faults.append((_place(text, error.position), "", message))
    else:
        if node is not None:
            document.value = _build(node, (), document)
    return document


def _refuse_structure(text: str, document: Document) -> None:
    """Find what must not even be composed: anchors, aliases, depth without end."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH}"
            document.faults.append((_mark(event.start_mark), "", message))
            return
        if getattr(event, "anchor", None):
            message = "anchors (&) and aliases (*) are not allowed; write the value out"
            document.faults.append((_mark(event.start_mark), "", message))


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _place(text: str, position: int) -> Mark:
    before = text[:position]
    return Mark(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


def _build(node: Node, path: Path, document: Document) -> Any:
    document.marks.setdefault(path, _mark(node.start_mark))
    if isinstance(node, ScalarNode):
        return _scalar(node, path, document)
    kind = "map" if isinstance(node, MappingNode) else "seq"
    if node.tag != f"{_TAG}{kind}":
        _refuse_tag(node, path, document)
    if isinstance(node, SequenceNode):
        return [_build(item, (*path, n), document) for n, item in enumerate(node.value)]
    return _mapping(node, path, document)


def _mapping(node: Node, path: Path, document: Document) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = _mark(key_node.start_mark)
        if not isinstance(key_node, ScalarNode) or not _is_key(key_node.value):
            message = f"a key must be plain text, one line of up to {MAX_KEY_CHARS} characters"
            document.faults.append((place, dotted(path), message))
            continue
        key = key_node.value
        inner = (*path, key)
        if key in built:
            first = document.mark(inner)
            message = f"given twice, first in line {first.line}; allowed: once"
            document.faults.append((place, dotted(inner), message))
            continue
        document.marks[inner] = place
        built[key] = _build(value_node, inner, document)
    return built


def _is_key(text: str) -> bool:
    one_line = len(text.splitlines()) == 1 and text == text.strip()
    return one_line and len(text) <= MAX_KEY_CHARS and not _UNPRINTABLE.search(text)


def _scalar(node: ScalarNode, path: Path, document: Document) -> Any:
    text = str(node.value)
    kind = node.tag.removeprefix(_TAG)
    if kind != "str" and (kind not in _PLAIN or not _PLAIN[kind][0].fullmatch(text)):
        _refuse_tag(node, path, document)  # !!bool yes
        return text
    value: Any = text
    if kind == "bool":
        value = text == "true"
    elif kind == "null":
        value = None
    elif kind == "int" and len(text.lstrip("-")) <= MAX_INT_DIGITS:
        value = int(text)
    elif kind in ("int", "float"):
        value = float(text)
        if not math.isfinite(value):
            document.faults.append((_mark(node.start_mark), dotted(path), "too large a number"))
    elif found := _UNPRINTABLE.search(text):
        message = f"the character U+{ord(found.group()):04X} is not allowed"
        document.faults.append((_mark(node.start_mark), dotted(path), message))
        value = _UNPRINTABLE.sub("\ufffd", text)  # messages quote it
    return value


def _refuse_tag(node: Node, path: Path, document: Document) -> None:
    message = f"the tag {node.tag} is not allowed here; leave it out"
    document.faults.append((_mark(node.start_mark), dotted(path), message))


def dotted(path: Path) -> str:
    """Return a path as `a.b[0].c`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
