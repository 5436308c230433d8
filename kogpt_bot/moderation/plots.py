"""Pictures of the profanity log: hits per day, by category, by channel, by outcome."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.moderation.stats import Stats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
# Fonts that have Hangul, as systems name them: Linux, macOS, Windows.
KOREAN_FONTS = (
    "NanumGothic", "NanumBarunGothic", "Noto Sans CJK KR", "Noto Sans KR", "Apple SD Gothic Neo",
    "AppleGothic", "Malgun Gothic", "UnDotum", "Baekmuk Gulim",
)  # fmt: skip
# Numbers only, which read the same in every language; from years down to seconds.
DATES = ["%Y", "%m", "%d", "%H:%M", "%H:%M", "%S"]
ZERO_DATES = ["", "%Y", "%m-%d", "%d", "%H:%M", "%H:%M"]
OFFSETS = ["", "%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d"]
COLOUR = "#4464ad"
MAX_NAME = 28  # characters of a channel's name; its end tells channels apart
MANY_DAYS = 31  # more are drawn as a line

_KOREAN = {
    "title": "비속어 기록",
    "days": "하루에 몇 건",
    "categories": "갈래",
    "channels": "채널",
    "outcomes": "어떻게 했나",
    "answer": "답",
    "incoming": "메시지",
    "name": "이름",
    "shown": "그대로 둠",
    "masked": "가림",
    "regenerated": "다시 씀",
    "fallback": "대신 말함",
    "blocked": "막음",
    "ignored": "답 안 함",
    "warned": "알림",
    "mild": "가벼움",
    "(others)": "(그 밖)",
    "total": "모두 {}건",
}
_ENGLISH = {
    "title": "Profanity log",
    "days": "Hits per day",
    "categories": "Category",
    "channels": "Channel",
    "outcomes": "Outcome",
    "욕설": "swearing",
    "성적": "sexual",
    "비하": "demeaning",
    "혐오": "slur",
    "total": "{} hits in all",
}


def draw(stats: Stats, path: Path) -> None:
    """Write the picture; its kind is the name's ending. ConfigurationError says what is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{path}: allowed endings: {', '.join(SUFFIXES)}")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigurationError(
            "matplotlib is not installed; pip install 'kogpt-bot[plots]'"
        ) from error
    mpl.use("Agg")
    from matplotlib import font_manager
    from matplotlib import pyplot as plt

    installed = {font.name for font in font_manager.fontManager.ttflist}
    font = next((name for name in KOREAN_FONTS if name in installed), None)
    words = _KOREAN if font else _ENGLISH
    style: Any = {"svg.fonttype": "path", "axes.unicode_minus": False}
    if font:
        style["font.family"] = [font, "DejaVu Sans"]
    with plt.rc_context(style):
        figure, axes = plt.subplots(2, 2, figsize=(12, 7.5), layout="constrained")
        figure.suptitle(f"{words['title']} · {words['total'].format(stats.total)}", fontsize=14)
        _days(axes[0, 0], stats.days, words["days"])
        _bars(axes[0, 1], stats.categories, words["categories"], words)
        _bars(axes[1, 0], stats.channels, words["channels"], words)
        _bars(axes[1, 1], stats.outcomes, words["outcomes"], words)
        try:
            figure.savefig(path, dpi=130)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
        finally:
            plt.close(figure)


def _days(axes: Axes, days: Sequence[tuple[date, int]], title: str) -> None:
    from matplotlib import dates as ticks
    from matplotlib.ticker import MaxNLocator

    when: Any = [day for day, _ in days]  # matplotlib takes dates for numbers
    counts = [count for _, count in days]
    if len(days) > MANY_DAYS:
        axes.fill_between(when, counts, color=COLOUR, alpha=0.3)
        axes.plot(when, counts, color=COLOUR)
    else:
        axes.bar(when, counts, color=COLOUR)
    locator = ticks.AutoDateLocator(minticks=1, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ticks.ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, formats=DATES, zero_formats=ZERO_DATES, offset_formats=OFFSETS
    )
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    _tidy(axes, title)


def _bars(axes: Axes, counts: Sequence[tuple[str, int]], title: str, words: dict[str, str]) -> None:
    names = [_name(name, words) for name, _ in reversed(counts)]
    values = [count for _, count in reversed(counts)]
    bars = axes.barh(range(len(names)), values, color=COLOUR)
    axes.set_yticks(range(len(names)), names)
    axes.bar_label(bars, padding=3)
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    _tidy(axes, title)


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _name(name: str, words: dict[str, str]) -> str:
    if ": " in name:  # a direction and an outcome
        direction, outcome = name.split(": ", 1)
        return f"{words.get(direction, direction)}: {words.get(outcome, outcome)}"
    name = words.get(name, name)
    return name if len(name) <= MAX_NAME else f"…{name[-MAX_NAME:]}"
