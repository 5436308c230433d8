"""An adapter for the platform of `tests/fakes/platform.py`, which lives in the test's process.

A daemon finds it as any installed adapter, by the entry points beside this package, when the
folder is on its path. The same platform comes twice: once with keys for sends, once without.
"""

from __future__ import annotations

from dataclasses import dataclass

from kogpt_bot import Adapter, AdapterPlugin


@dataclass(frozen=True, slots=True)
class FakePlatformSettings:
    port: int = 0


def create_keyed(settings: FakePlatformSettings) -> Adapter:
    from kogpt_fake_platform.adapter import SocketAdapter

    return SocketAdapter("keyed", settings.port, keyed=True)


def create_keyless(settings: FakePlatformSettings) -> Adapter:
    from kogpt_fake_platform.adapter import SocketAdapter

    return SocketAdapter("keyless", settings.port, keyed=False)


KEYED = AdapterPlugin("keyed", FakePlatformSettings, create_keyed)
KEYLESS = AdapterPlugin("keyless", FakePlatformSettings, create_keyless)
