"""Bringing a database to the newest schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from kogpt_bot.errors import SchemaTooNew

UPGRADE_LOCK = 0x6B6F677074  # "kogpt"


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the migrations of this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Upgrade the schema in the connection's transaction; SchemaTooNew when we do not know it."""
    if connection.dialect.name == "postgresql":  # of several that start at once, one upgrades
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
    config = alembic_config(connection)
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None:
        try:
            script.get_revision(current)
        except CommandError:
            raise SchemaTooNew(
                f"the database has schema {current}, written by a newer kogpt-bot; "
                f"this one knows up to {script.get_current_head()}: install the newer version"
            ) from None
    command.upgrade(config, "head")


def current_revision(connection: Connection) -> str | None:
    """Return the schema that a database has; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """Return the schema of this version."""
    return str(ScriptDirectory.from_config(alembic_config()).get_current_head())
