"""Settings that were changed by command: one value per scope and key, and who changed it when."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kogpt_bot.store.tables import settings, settings_audit
from kogpt_bot.store.values import JsonValue, SettingChange

Transaction = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class SettingsTable:
    """The command layer of the settings; each change leaves an audit row."""

    def __init__(self, read: Transaction, write: Transaction) -> None:
        self._read = read
        self._write = write

    async def all(self) -> dict[str, dict[str, JsonValue]]:
        """Return scope -> key -> value."""
        found: dict[str, dict[str, JsonValue]] = {}
        async with self._read() as connection:
            for row in (await connection.execute(select(settings))).all():
                found.setdefault(row.scope, {})[row.key] = row.value
        return found

    async def mark(self) -> int:
        """Return what is different after each change."""
        async with self._read() as connection:
            newest = await connection.execute(select(func.max(settings_audit.c.id)))
            return int(newest.scalar_one() or 0)

    async def set(self, scope: str, key: str, value: JsonValue, *, by: str, at: datetime) -> None:
        """Set one value; `by` names who did it."""
        async with self._write() as connection:
            old = await _take(connection, scope, key)
            await connection.execute(
                insert(settings).values(
                    scope=scope, key=key, value=value, changed_at=at, changed_by=by
                )
            )
            await _audit(connection, SettingChange(at, scope, key, old, value, by))

    async def reset(self, scope: str, key: str, *, by: str, at: datetime) -> bool:
        """Unset one value; returns whether it was set."""
        async with self._write() as connection:
            old = await _take(connection, scope, key)
            if old is not None:
                await _audit(connection, SettingChange(at, scope, key, old, None, by))
            return old is not None

    async def changes(self, scope: str, limit: int = 50) -> list[SettingChange]:
        """Return the newest changes of a scope, newest first."""
        query = (
            select(settings_audit)
            .where(settings_audit.c.scope == scope)
            .order_by(settings_audit.c.id.desc())
            .limit(limit)
        )
        async with self._read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            SettingChange(row.at, row.scope, row.key, row.old, row.new, row.changed_by)
            for row in rows
        ]


async def _take(connection: AsyncConnection, scope: str, key: str) -> JsonValue:
    gone = (
        delete(settings)
        .where(settings.c.scope == scope, settings.c.key == key)
        .returning(settings.c.value)
    )
    row = (await connection.execute(gone)).first()
    return None if row is None else row.value


async def _audit(connection: AsyncConnection, change: SettingChange) -> None:
    await connection.execute(
        insert(settings_audit).values(
            at=change.at,
            scope=change.scope,
            key=change.key,
            old=change.old,
            new=change.new,
            changed_by=change.changed_by,
        )
    )
