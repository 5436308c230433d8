"""What the owner can set about the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The section `adapters.web`.

    `allowed_hosts` are further names under which browsers may reach the page, for a reverse
    proxy; without them only the loopback names are answered, so that no other site's page can
    talk to the bot through a visitor's browser (DNS rebinding).
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Interval(ge=0, le=65535)] = 8080  # 0: any free port
    allowed_hosts: tuple[str, ...] = ()
