"""Strict YAML: plain values with the place of each; no aliases, no doubled keys, no surprises.

Only `true`, `false`, `null`, decimal numbers and text are recognised, so that `no`, `on`, `010` or
`12:30` are never silently something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES = 1 << 20
MAX_DEPTH = 16

Path = tuple[str | int, ...]


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


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", "n~\0"),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", "-0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.yaml_implicit_resolvers.setdefault("", []).append(
    ("tag:yaml.org,2002:null", re.compile(r"^$"))
)


def read(content: bytes) -> Document:
    """Return the document; what is wrong is in its `faults`."""
    document = Document()
    if len(content) > MAX_BYTES:
        document.faults.append((Mark(1, 1), "", f"larger than {MAX_BYTES} bytes"))
        return document
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        document.faults.append((Mark(line, 1), "", "not UTF-8; save the file as UTF-8"))
        return document
    try:
        _refuse_aliases(text, document)
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        document.faults.append((place, "", f"not YAML: {error.problem or error.context}"))
        return document
    except yaml.YAMLError as error:
        document.faults.append((Mark(1, 1), "", f"not YAML: {str(error).splitlines()[0]}"))
        return document
    if not document.faults and node is not None:
        document.value = _build(node, (), document)
    return document


def _refuse_aliases(text: str, document: Document) -> None:
    for event in yaml.parse(text, _Loader):
        if getattr(event, "anchor", None) and event.start_mark is not None:
            place = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
            document.faults.append(
                (place, "", "anchors (&) and aliases (*) are not allowed; write the value out")
            )


def _build(node: Node, path: Path, document: Document) -> Any:
    place = Mark(node.start_mark.line + 1, node.start_mark.column + 1)
    document.marks.setdefault(path, place)
    if len(path) > MAX_DEPTH:
        document.faults.append((place, dotted(path), f"nested deeper than {MAX_DEPTH}"))
        return None
    if isinstance(node, MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, SequenceNode):
        return [_build(item, (*path, n), document) for n, item in enumerate(node.value)]
    return _scalar(node, path, document, place)


def _mapping(node: MappingNode, path: Path, document: Document) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = Mark(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, ScalarNode) or not key_node.value:
            document.faults.append((place, dotted(path), "a key must be plain text"))
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


def _scalar(node: Node, path: Path, document: Document, place: Mark) -> Any:
    text = str(node.value)
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "str":
        return text
    if kind == "bool":
        return text == "true"
    if kind == "null":
        return None
    if kind == "int" and re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if kind in ("int", "float"):
        return float(text)
    document.faults.append((place, dotted(path), f"the tag {node.tag} is not allowed"))
    return text


def dotted(path: Path) -> str:
    """Return a path as `a.b[0].c`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
