"""The buttons under messages, and what pressing one means: 64 bytes say it all, nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from kogpt_bot import COMMANDS, ActionKind, ActionResult, Outgoing, ScopeLevel, SettingView
from kogpt_bot_telegram.text import clip, shield

MAX_DATA_BYTES = 64  # of one button, set by Telegram
PER_PAGE = 8  # settings; more do not fit on a phone's screen with the message
PER_ROW = 4  # signs under an answer
LABEL_CHARS = 48

_LEVELS = {"c": ScopeLevel.CHANNEL, "t": ScopeLevel.THREAD}
_LETTERS = {level: letter for letter, level in _LEVELS.items()}


@dataclass(frozen=True, slots=True)
class Offer:
    """A button under an answer."""

    kind: ActionKind
    subject: str = ""


@dataclass(frozen=True, slots=True)
class ShowPage:
    """A page of the list of settings."""

    level: ScopeLevel
    page: int


@dataclass(frozen=True, slots=True)
class ShowSetting:
    """One setting and what it can be."""

    level: ScopeLevel
    name: str


@dataclass(frozen=True, slots=True)
class Choose:
    """One of the values of a setting, as the core showed it; the core checks it once more."""

    level: ScopeLevel
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Take back what was set for a setting."""

    level: ScopeLevel
    name: str


@dataclass(frozen=True, slots=True)
class Close:
    """Put the settings away."""


Press = Offer | ShowPage | ShowSetting | Choose | Reset | Close


def encode(press: Press) -> str:
    """Return a button's data; it may be too long for a button."""
    match press:
        case Offer(kind, subject):
            return f"o:{kind.value}:{subject}"
        case ShowPage(level, page):
            return f"p:{_LETTERS[level]}:{page}"
        case ShowSetting(level, name):
            return f"s:{_LETTERS[level]}:{name}"
        case Choose(level, name, value):
            return f"c:{_LETTERS[level]}:{name}:{value}"
        case Reset(level, name):
            return f"r:{_LETTERS[level]}:{name}"
        case Close():
            return "x"


def decode(data: str) -> Press | None:
    """Return what a button's data means; None for data that this version does not know."""
    head, _, rest = data.partition(":")
    try:
        return _DECODERS[head](rest)
    except (IndexError, KeyError, ValueError):
        return None


def _decode_offer(rest: str) -> Press:
    kind, _, subject = rest.partition(":")
    return Offer(ActionKind(kind), subject)


def _decode_choice(rest: str) -> Press:
    letter, name, value = rest.split(":", 2)
    return Choose(_LEVELS[letter], name, value)


_DECODERS: Mapping[str, Callable[[str], Press]] = {
    "o": _decode_offer,
    "p": lambda rest: ShowPage(_LEVELS[rest[0]], int(rest[2:])),
    "s": lambda rest: ShowSetting(_LEVELS[rest[0]], rest[2:]),
    "c": _decode_choice,
    "r": lambda rest: Reset(_LEVELS[rest[0]], rest[2:]),
    "x": lambda _: Close(),
}


def under(message: Outgoing) -> InlineKeyboardMarkup | None:
    """Return the buttons of an answer's offers."""
    row = []
    for kind in message.offers:
        data = encode(Offer(kind, message.subject))
        if len(data.encode()) <= MAX_DATA_BYTES:
            command = COMMANDS[kind]
            label = command.emoji or command.label.ko
            row.append(InlineKeyboardButton(label, callback_data=data))
    if not row:
        return None
    return InlineKeyboardMarkup([row[at : at + PER_ROW] for at in range(0, len(row), PER_ROW)])


@dataclass(frozen=True, slots=True)
class Panel:
    """A message of the adapter's own, with its buttons."""

    text: str
    keyboard: InlineKeyboardMarkup | None = None


def settings_page(result: ActionResult, level: ScopeLevel, page: int, *, topic: bool) -> Panel:
    """Return a page of the settings, each a button; in a topic one chooses for how much."""
    words = _Words.of(result.settings)
    pages = max(1, -(-len(result.settings) // PER_PAGE))
    page = min(max(page, 0), pages - 1)
    rows = [
        [_button(f"{view.name}: {view.value}", ShowSetting(level, view.name))]
        for view in result.settings[page * PER_PAGE : (page + 1) * PER_PAGE]
    ]
    turn = []
    if pages > 1:
        turn.append(_button("◀", ShowPage(level, (page - 1) % pages)))
        turn.append(_button("▶", ShowPage(level, (page + 1) % pages)))
    if topic:
        other = ScopeLevel.CHANNEL if level is ScopeLevel.THREAD else ScopeLevel.THREAD
        turn.append(_button(words.reach[level], ShowPage(other, page)))
    turn.append(_button("✖", Close()))
    text = f"{result.text}\n\n{page + 1}/{pages}"
    return Panel(clip(shield(text)), _keyboard([*rows, turn]))


def setting_panel(result: ActionResult, level: ScopeLevel, name: str) -> Panel | None:
    """Return one setting with its choices; None where there is no such setting any more."""
    view = next((each for each in result.settings if each.name == name), None)
    if view is None:
        return None
    words = _Words.of(result.settings)
    rows = [
        [_button(f"✔ {choice}" if choice == view.value else choice, Choose(level, name, choice))]
        for choice in view.choices
    ]
    rows.append([_button(words.reset, Reset(level, name)), _button(words.back, ShowPage(level, 0))])
    lines = [f"{view.name} = {view.value}", f"{words.source}: {view.source}"]
    lines.append(f"{words.allowed}: {view.allowed}")
    text = shield("\n".join(lines))
    if not view.choices:  # the command in it can be copied with a tap, so it stays as it is
        reach = f" {words.levels[level]}" if level is not ScopeLevel.CHANNEL else ""
        text += f"\n\n/set {view.name} …{reach}"
    return Panel(clip(text), _keyboard(rows))


def _button(label: str, press: Press) -> InlineKeyboardButton:
    short = label if len(label) <= LABEL_CHARS else f"{label[: LABEL_CHARS - 1]}…"
    return InlineKeyboardButton(short, callback_data=encode(press))


def _keyboard(rows: Iterable[list[InlineKeyboardButton]]) -> InlineKeyboardMarkup:
    """Return the rows without what does not fit into a button."""
    fitting = [
        [each for each in row if len(str(each.callback_data).encode()) <= MAX_DATA_BYTES]
        for row in rows
    ]
    return InlineKeyboardMarkup([row for row in fitting if row])


@dataclass(frozen=True, slots=True)
class _Words:
    """The panel's own words."""

    reset: str
    back: str
    source: str
    allowed: str
    reach: dict[ScopeLevel, str]
    levels: dict[ScopeLevel, str]

    @classmethod
    def of(cls, views: Iterable[SettingView]) -> _Words:
        """Return them in the channel's language, which is one of its settings."""
        english = any(view.name == "language" and view.value == "en" for view in views)
        return _EN if english else _KO


_KO = _Words(
    "↩ 되돌리기", "목록", "출처", "쓸 수 있는 값",
    {ScopeLevel.CHANNEL: "범위: 모든 주제", ScopeLevel.THREAD: "범위: 이 주제만"},
    {ScopeLevel.CHANNEL: "채널", ScopeLevel.THREAD: "주제"},
)  # fmt: skip
_EN = _Words(
    "↩ Reset", "List", "From", "Allowed",
    {ScopeLevel.CHANNEL: "For: all topics", ScopeLevel.THREAD: "For: this topic"},
    {ScopeLevel.CHANNEL: "channel", ScopeLevel.THREAD: "topic"},
)  # fmt: skip
