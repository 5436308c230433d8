"""`kogpt-bot db ...`: looking after the database; each command is a call of `store.maintenance`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

db_app = typer.Typer(help="Look after the database.", no_args_is_help=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration; ./config.yaml where there is one."),
]


@db_app.command("upgrade")
def db_upgrade(config: ConfigOption = None) -> None:
    """Bring the schema up to date; a start of the daemon does the same."""
    from kogpt_bot.store.maintenance import upgrade_database

    done = asyncio.run(upgrade_database(_url(config)))
    change = "is up to date" if done.before == done.after else f"was {done.before or 'empty'}"
    typer.echo(f"schema {done.after} ({change})")


@db_app.command("check")
def db_check(config: ConfigOption = None) -> None:
    """Say what is wrong with the database; status 1 where something is."""
    from kogpt_bot.store.maintenance import check_database

    faults = asyncio.run(check_database(_url(config)))
    for fault in faults or ["ok"]:
        typer.echo(fault)
    raise typer.Exit(1 if faults else 0)


@db_app.command("backup")
def db_backup(file: Path, config: ConfigOption = None) -> None:
    """Copy the database into FILE, also while the daemon runs."""
    from kogpt_bot.store.maintenance import back_up

    size = asyncio.run(back_up(_url(config), file))
    typer.echo(f"{file}: {size} bytes")


@db_app.command("vacuum")
def db_vacuum(config: ConfigOption = None) -> None:
    """Give room that is not used any more back to the system; writers wait meanwhile."""
    from kogpt_bot.store.maintenance import vacuum

    before, after = asyncio.run(vacuum(_url(config)))
    typer.echo(f"{before} bytes before, {after} after" if before else "done")


def _url(path: Path | None) -> str:
    from kogpt_bot import config
    from kogpt_bot.store.database import DATABASE, sqlite_url

    if path is None and Path("config.yaml").is_file():
        path = Path("config.yaml")
    settings = config.load(path)
    return settings.store.url or sqlite_url(settings.data_dir / DATABASE)
