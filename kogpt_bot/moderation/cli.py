"""`kogpt-bot profanity ...`: find profanity, read the log, review it, report it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from getpass import getuser
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kogpt_bot.errors import ConfigurationError, Refused

if TYPE_CHECKING:
    from kogpt_bot.store.profanity import ProfanityTable
    from kogpt_bot.store.profanity_values import Hit, HitFilter

profanity_app = typer.Typer(
    help="Find Korean profanity; read, review and report what was found.", no_args_is_help=True
)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration; ./config.yaml where there is one."),
]
Since = Annotated[str, typer.Option(help="From when on: 7d, 12h, or a date such as 2026-01-31.")]
Until = Annotated[str, typer.Option(help="Up to when: the same.")]
Channel = Annotated[str, typer.Option(help="Only there: an adapter, a server, or a channel's key.")]
DirectionOption = Annotated[str, typer.Option(help="answer, incoming or name.")]
CategoryOption = Annotated[str, typer.Option(help="욕설, 성적, 비하, 혐오 or mild.")]
SeverityOption = Annotated[int, typer.Option(min=1, max=3, help="This severity at least.")]
VerdictOption = Annotated[
    str, typer.Option(help="Reviewed as right or false-alarm; none: not reviewed.")
]
BATCH = 500  # hits that an export reads at a time

Result = TypeVar("Result")


@profanity_app.command("scan")
def scan_lines(
    as_json: Annotated[
        bool, typer.Option("--json", help="The input is JSON lines with a `text` each.")
    ] = False,
) -> None:
    """Read one text per line on standard input; write one JSON object per line."""
    from kogpt_bot.moderation.scan import scan

    scan(sys.stdin, sys.stdout, json_input=as_json)


@profanity_app.command("explain")
def explain_text(text: str) -> None:
    """Say what is found in a text, and by which rule."""
    from kogpt_bot.moderation.scan import explain

    for line in explain(text) or ["nothing found"]:
        typer.echo(line)


@profanity_app.command("list")
def list_hits(
    config: Config = None,
    since: Since = "30d",
    until: Until = "",
    channel: Channel = "",
    direction: DirectionOption = "",
    category: CategoryOption = "",
    severity: SeverityOption = 1,
    verdict: VerdictOption = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON lines.")] = False,
) -> None:
    """Show the newest hits."""
    from kogpt_bot.moderation import tables
    from kogpt_bot.moderation.export import json_lines

    wanted = _filter(since, until, channel, direction, category, severity, verdict)
    hits = _with_log(config, lambda log: log.hits(replace(wanted, limit=limit)))
    if as_json:
        sys.stdout.writelines(json_lines(hits))
    else:
        tables.show_hits(hits)


@profanity_app.command("show")
def show_hit(hit_id: int, config: Config = None) -> None:
    """Show all that the log holds of one hit."""
    from kogpt_bot.moderation import tables

    tables.show_hit(_hit(config, hit_id))


@profanity_app.command("export")
def export_hits(
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file, mode 0600; else standard output.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV in place of JSON lines.")] = False,
    since: Since = "",
    until: Until = "",
    channel: Channel = "",
    direction: DirectionOption = "",
    category: CategoryOption = "",
    severity: SeverityOption = 1,
    verdict: VerdictOption = "",
) -> None:
    """Write hits with their texts, the oldest first."""
    from kogpt_bot.moderation.export import csv_lines, json_lines

    wanted = _filter(since, until, channel, direction, category, severity, verdict)

    async def write(log: ProfanityTable, file: IO[str]) -> int:
        count, after = 0, 0
        while True:
            part = replace(wanted, after=after, newest_first=False, limit=BATCH)
            hits = await log.hits(part)
            file.writelines(csv_lines(hits, header=not count) if as_csv else json_lines(hits))
            count += len(hits)
            if len(hits) < BATCH:
                return count
            after = hits[-1].id

    if out is None:
        _with_log(config, lambda log: write(log, sys.stdout))
        return
    with _private(out) as file:
        count = _with_log(config, lambda log: write(log, file))
    typer.echo(f"{out}: {count} hits", err=True)


@profanity_app.command("stats")
def show_stats(
    config: Config = None,
    since: Since = "30d",
    until: Until = "",
    channel: Channel = "",
    severity: SeverityOption = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Count hits by day, category, channel and outcome."""
    from kogpt_bot.moderation import stats, tables

    wanted = _filter(since, until, channel, severity=severity)
    counted = stats.count(_with_log(config, lambda log: log.points(wanted)))
    if as_json:
        typer.echo(json.dumps(tables.stats_values(counted), ensure_ascii=False, indent=2))
    else:
        tables.show_stats(counted)


@profanity_app.command("plot")
def plot(
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png, .svg or .pdf file.")],
    config: Config = None,
    since: Since = "30d",
    until: Until = "",
    channel: Channel = "",
    severity: SeverityOption = 1,
) -> None:
    """Draw hits per day, by category, by channel and by outcome."""
    from kogpt_bot.moderation import plots, stats

    wanted = _filter(since, until, channel, severity=severity)
    counted = stats.count(_with_log(config, lambda log: log.points(wanted)))
    plots.draw(counted, out)
    typer.echo(f"{out}: {counted.total} hits", err=True)


@profanity_app.command("review")
def review(
    hit_id: int,
    right: Annotated[
        bool | None, typer.Option("--right/--false-alarm", help="Whether it is profanity.")
    ] = None,
    config: Config = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Allow it in every channel, not in this one only.")
    ] = False,
    allow: Annotated[
        str, typer.Option("--allow", help="The phrase to allow; else the word it stands in.")
    ] = "",
) -> None:
    """Say whether a hit is right; a false alarm is no profanity from then on."""
    from kogpt_bot.clock import SystemClock
    from kogpt_bot.moderation.review import Reviews
    from kogpt_bot.store.profanity_values import Verdict

    if right is None:
        raise ConfigurationError("say what it is: --right or --false-alarm")
    if right and (everywhere or allow):
        raise ConfigurationError("--everywhere and --allow go with --false-alarm")
    verdict = Verdict.RIGHT if right else Verdict.FALSE_ALARM
    done = _with_log(
        config,
        lambda log: Reviews(log, SystemClock()).review(
            hit_id, verdict, by=_reviewer(), everywhere=everywhere, phrase=allow
        ),
    )
    typer.echo(f"hit {hit_id}: {verdict.value}")
    if done.allowed is not None:
        where = done.allowed.scope or "everywhere"
        typer.echo(f"allowed from now on, {where}: {done.allowed.phrase}")


@profanity_app.command("allowed")
def allowed(
    config: Config = None,
    remove: Annotated[
        str, typer.Option("--remove", help="Take this phrase back, wherever it is allowed.")
    ] = "",
) -> None:
    """List what reviews have allowed, or take a phrase of it back."""
    phrases = _with_log(config, lambda log: log.allowed())
    for each in phrases:
        if not remove:
            typer.echo(f"{each.scope or 'everywhere'}\t{each.phrase}")
        elif each.phrase == remove:
            _with_log(config, lambda log, gone=each: log.disallow(gone))  # type: ignore[misc]
            typer.echo(f"no longer allowed, {each.scope or 'everywhere'}: {each.phrase}")
    if remove and all(each.phrase != remove for each in phrases):
        raise Refused(f"{remove!r} is not allowed by a review; see `kogpt-bot profanity allowed`")


@profanity_app.command("report")
def report_hit(
    hit_id: int,
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; else profanity-ID.eml here.")
    ] = None,
    to: Annotated[str, typer.Option(help="The address; else moderation.report_to.")] = "",
    sender: Annotated[str, typer.Option("--from", help="Your own address.")] = "",
) -> None:
    """Write a mail to the model's authors with prompt and generated text; you send it."""
    from kogpt_bot.moderation.export import NOBODY, report

    hit = _hit(config, hit_id)
    address = to or _settings(config).moderation.report_to
    try:
        message = report(hit, to=address, sender=sender or NOBODY, written_at=datetime.now(UTC))
    except ValueError as error:
        raise Refused(str(error)) from error
    out = out or Path(f"profanity-{hit_id}.eml")
    with _private(out) as file:
        file.buffer.write(message.as_bytes())
    typer.echo(f"{out}: to {address}; nothing was sent. Read it, then send it with your own mail.")


def _reviewer() -> str:
    try:
        return f"cli:{getuser()}"
    except (KeyError, OSError):  # a container whose user has no name
        return f"cli:{os.getuid()}"


def _settings(path: Path | None) -> Any:
    from kogpt_bot import config

    return config.load(Path("config.yaml") if path is None and _has_config() else path)


def _has_config() -> bool:
    return Path("config.yaml").is_file()


def _with_log(config: Path | None, work: Callable[[ProfanityTable], Awaitable[Result]]) -> Result:
    """Run `work` on the log of the configured database."""

    async def run() -> Result:
        async with _log(config) as log:
            return await work(log)

    return asyncio.run(run())


@asynccontextmanager
async def _log(config: Path | None) -> AsyncIterator[ProfanityTable]:
    from kogpt_bot.store import Store
    from kogpt_bot.store.database import DATABASE, sqlite_url

    settings = _settings(config)
    store = await Store.open(settings.store.url or sqlite_url(settings.data_dir / DATABASE))
    try:
        yield store.profanity
    finally:
        await store.close()


def _hit(config: Path | None, hit_id: int) -> Hit:
    found = _with_log(config, lambda log: log.hit(hit_id))
    if found is None:
        raise Refused(f"there is no hit {hit_id}; `kogpt-bot profanity list` shows the newest")
    return found


def _filter(
    since: str,
    until: str,
    channel: str,
    direction: str = "",
    category: str = "",
    severity: int = 1,
    verdict: str = "",
) -> HitFilter:
    from kogpt_bot.moderation.lexicon import Category
    from kogpt_bot.moderation.times import moment
    from kogpt_bot.store.profanity_values import Direction, HitFilter, Verdict

    verdict = verdict.replace("-", " ")  # as the option of `review` is written
    for name, value, choices in (
        ("direction", direction, [*Direction]),
        ("category", category, [*Category]),
        ("verdict", verdict, [*Verdict, "none"]),
    ):
        if value and value not in choices:
            raise ConfigurationError(f"--{name}: {value!r}; allowed: {', '.join(choices)}")
    now = datetime.now(UTC)
    return HitFilter(
        since=moment("--since", since, now) if since else None,
        until=moment("--until", until, now) if until else None,
        channel=channel,
        direction=direction,
        category=category,
        min_severity=severity,
        verdict=verdict,
    )


def _private(path: Path) -> TextIOWrapper:
    """Open a file for writing that only its owner can read."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    try:
        return open(path, "w", encoding="utf-8", newline="", opener=opener)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
