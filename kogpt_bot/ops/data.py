"""`kogpt-bot data ...`: what is stored about a person, for the owner; the daemon may run."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kogpt_bot.errors import ConfigurationError

if TYPE_CHECKING:
    from kogpt_bot.pseudonym import Pseudonyms
    from kogpt_bot.store import Store

data_app = typer.Typer(
    help="Export and erase what is stored about a person; read reports.", no_args_is_help=True
)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration; ./config.yaml where there is one."),
]
AdapterName = Annotated[str, typer.Option(help="The platform: discord, telegram, web, ...")]
User = Annotated[str, typer.Option(help="The person's id on that platform.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="A new file; else to stdout.")]

Result = TypeVar("Result")


@data_app.command("export")
def data_export(
    adapter: AdapterName, user: User, output: Output = None, config: Config = None
) -> None:
    """Write all that is stored about a person, as JSON."""

    async def read(store: Store, pseudonyms: Pseudonyms) -> dict[str, Any]:
        return await store.export.of(pseudonyms.person(adapter, user), adapter, user)

    _write(json.dumps(_with_store(config, read), ensure_ascii=False, indent=2), output)


@data_app.command("erase")
def data_erase(
    adapter: AdapterName,
    user: User,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = None,
) -> None:
    """Erase all that is stored about a person, and rewrite the database without it."""
    from kogpt_bot.store.maintenance import vacuum

    if not yes:
        typer.confirm(f"Erase everything about {user} on {adapter}?", abort=True, err=True)

    async def erase(store: Store, pseudonyms: Pseudonyms) -> int:
        return await store.erasure.erase(pseudonyms.person(adapter, user), adapter, user)

    count = _with_store(config, erase)
    asyncio.run(vacuum(_url(config)))
    typer.echo(f"erased: {count} messages, the answers to them, and what spoke of {adapter} {user}")
    typer.echo("copies made before (`kogpt-bot db backup`) still hold it", err=True)


@data_app.command("reports")
def data_reports(output: Output = None, config: Config = None) -> None:
    """Write the reports of abnormal answers, a line of JSON each; people are keyed hashes."""

    async def read(store: Store, _: Pseudonyms) -> list[dict[str, Any]]:
        return await store.people.reports()

    reports = _with_store(config, read)
    _write("\n".join(json.dumps(each, ensure_ascii=False) for each in reports), output)


def _settings(path: Path | None) -> Any:
    from kogpt_bot import config

    if path is None and Path("config.yaml").is_file():
        path = Path("config.yaml")
    return config.load(path)


def _url(path: Path | None) -> str:
    from kogpt_bot.store.database import DATABASE, sqlite_url

    settings = _settings(path)
    return settings.store.url or sqlite_url(settings.data_dir / DATABASE)


def _with_store(
    path: Path | None, work: Callable[[Store, Pseudonyms], Awaitable[Result]]
) -> Result:
    """Do something with the store of a configuration; ConfigurationError where there is none."""
    from sqlalchemy import make_url

    from kogpt_bot.pseudonym import Pseudonyms
    from kogpt_bot.store import Store

    settings, url = _settings(path), _url(path)
    file = make_url(url).database if url.startswith("sqlite") else None
    if file is not None and not Path(file).is_file():
        raise ConfigurationError(f"{file}: there is no database yet; nothing is stored")

    async def run() -> Result:
        store = await Store.open(url)
        try:
            return await work(store, Pseudonyms.load(settings.data_dir))
        finally:
            await store.close()

    return asyncio.run(run())


def _write(text: str, output: Path | None) -> None:
    """Write to stdout, or to a new file that only its owner may read."""
    if output is None:
        sys.stdout.write(f"{text}\n" if text else "")
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{output}: exists already; name another file") from None
    except OSError as error:
        raise ConfigurationError(f"{output}: cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n" if text else "")
    typer.echo(f"{output} written", err=True)
