"""Lines that begin with a slash: which command they mean, and how its result is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kogpt_bot import COMMANDS, ActionKind, ActionResult, Attachment

SHORT = {
    "다시": ActionKind.REGENERATE,
    "again": ActionKind.REGENERATE,
    "지우기": ActionKind.CLEAR,
}
NAMES: Mapping[str, ActionKind] = {
    **SHORT,
    **{name: kind for kind, each in COMMANDS.items() for name in (each.name.ko, each.name.en)},
}
IN_ONE_ROOM = {"level"}  # arguments that make no difference here


@dataclass(frozen=True, slots=True)
class Wish:
    """A command and what was said with it, as in `Action`."""

    kind: ActionKind
    message_id: str = ""
    name: str = ""
    value: str = ""


def parse(line: str) -> Wish | None:
    """Return what a line asks for: `/set temperature 0.7`; None where it is no command.

    Arguments stand in their order, the last one takes what is left of the line.
    """
    head, _, rest = line.strip().partition(" ")
    kind = NAMES.get(head.removeprefix("/").casefold()) if head.startswith("/") else None
    if kind is None:
        return None
    names = [each.field for each in COMMANDS[kind].arguments if each.field not in IN_ONE_ROOM]
    values = rest.split(maxsplit=max(len(names) - 1, 0)) if names else []
    given = dict(zip(names, map(str.strip, values), strict=False))
    return Wish(kind, given.get("message_id", ""), given.get("name", ""), given.get("value", ""))


def lines(result: ActionResult) -> Iterator[str]:
    """Give the lines that tell of a result; its settings are set in columns."""
    yield from result.text.splitlines()
    width = max((len(view.name) for view in result.settings), default=0)
    for view in result.settings:
        yield f"  {view.name:<{width}}  {view.value}  [{view.source}; {view.allowed}]"


def save(file: Attachment, folder: Path) -> Path:
    """Write a file into a folder, under a name of its own; returns where. Raises OSError."""
    name = Path(Path(file.name).name)
    for number in range(1000):
        path = folder / (f"{name.stem}-{number}{name.suffix}" if number else name)
        try:
            with path.open("xb") as out:
                path.chmod(0o600)
                out.write(file.content)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{folder / name} and a thousand like it are there already")
