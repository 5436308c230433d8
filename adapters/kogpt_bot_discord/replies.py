"""Answering an interaction: what one person sees of their command, button or menu."""

from __future__ import annotations

import json
from typing import Any

import discord
from discord.http import Route

from kogpt_bot import Attachment, Malformed, Unreachable
from kogpt_bot_discord.errors import translated
from kogpt_bot_discord.markup import MAX_LENGTH, escape
from kogpt_bot_discord.patience import patiently
from kogpt_bot_discord.payloads import EPHEMERAL, NOBODY, SUPPRESS_EMBEDS
from kogpt_bot_discord.rest import OneAttemptHTTP

# https://discord.com/developers/docs/interactions/receiving-and-responding
MESSAGE, DEFERRED, DEFERRED_UPDATE, UPDATE, MODAL = 4, 5, 6, 7, 9
ALREADY_ACKNOWLEDGED = 40060  # of Discord's error codes
MAX_PARTS = 5  # messages that a long text is told in

JSON = dict[str, Any]


class Reply:
    """The answer to one interaction; `language` is the person's."""

    def __init__(self, rest: OneAttemptHTTP, interaction: discord.Interaction) -> None:
        self._rest = rest
        self._id = interaction.id
        self._application_id = interaction.application_id
        self.token = interaction.token
        self.language = interaction.locale.value
        self.acknowledged = False
        self._announced = False  # people see that the bot thinks

    async def announce(self, *, ephemeral: bool = True) -> None:
        """Say that an answer will come; people see that the bot thinks."""
        await self._respond(DEFERRED, {"flags": EPHEMERAL} if ephemeral else {})

    async def keep(self) -> None:
        """Acknowledge a button and leave its message as it is."""
        await self._respond(DEFERRED_UPDATE)

    async def update(self, text: str, components: list[JSON]) -> None:
        """Put other things into the message whose button or menu it was."""
        await self._respond(UPDATE, {**_body(escape(text)), "components": components})

    async def ask(self, custom_id: str, title: str, field: JSON) -> None:
        """Open a modal with one field."""
        row = {"type": 1, "components": [{"type": 4, "custom_id": "text", **field}]}
        data = {"custom_id": custom_id, "title": title[:45], "components": [row]}
        await self._respond(MODAL, data)

    async def say_to_all(self, text: str) -> str:
        """Show a message in the channel at once; returns its id, "" where it was not told."""
        told = await self._respond(MESSAGE, _body(text))
        message = ((told or {}).get("resource") or {}).get("message") or {}
        return str(message.get("id", ""))

    async def tell(
        self,
        text: str,
        *,
        components: list[JSON] | None = None,
        file: Attachment | None = None,
        marked_up: bool = False,
    ) -> None:
        """Tell the person, and nobody else. `marked_up`: the text is ours, and markup."""
        first, *others = _parts(text if marked_up else escape_all(text))
        body = {**_body(first), "flags": EPHEMERAL | SUPPRESS_EMBEDS}
        if components is not None:
            body["components"] = components
        if not self.acknowledged and file is None:
            await self._respond(MESSAGE, body)
        elif not self.acknowledged:
            await self.announce()
            await self._edit_original(body, file)
        elif self._announced:
            await self._edit_original(body, file)
        else:
            await self._follow_up(body, file)
        for part in others:
            await self._follow_up({**_body(part), "flags": EPHEMERAL | SUPPRESS_EMBEDS}, None)

    async def _respond(self, kind: int, data: JSON | None = None) -> JSON | None:
        route = Route(
            "POST",
            "/interactions/{webhook_id}/{webhook_token}/callback",
            webhook_id=self._id,
            webhook_token=self.token,
        )
        body: JSON = {"type": kind}
        if data is not None:
            body["data"] = data
        told = await self._first_response(route, body)
        self.acknowledged = True
        self._announced = kind == DEFERRED
        return told if isinstance(told, dict) else None

    async def _first_response(self, route: Route, body: JSON) -> Any:
        """Respond within the three seconds that Discord gives, with a second try."""
        options: JSON = {"json": body, "params": {"with_response": 1}}
        try:
            with translated():
                return await self._rest.request(route, **options)
        except Unreachable:
            try:
                with translated():
                    return await self._rest.request(route, **options)
            except Malformed as error:  # the first one had arrived, its answer was lost
                if getattr(error.__cause__, "code", 0) != ALREADY_ACKNOWLEDGED:
                    raise
                return None

    async def _edit_original(self, body: JSON, file: Attachment | None) -> None:
        self._announced = False
        body = {**body, "flags": SUPPRESS_EMBEDS}  # who sees it was settled when it was announced
        await self._webhook("PATCH", "/messages/@original", body, file)

    async def _follow_up(self, body: JSON, file: Attachment | None) -> None:
        await self._webhook("POST", "", body, file)

    async def _webhook(self, method: str, path: str, body: JSON, file: Attachment | None) -> None:
        route = webhook(method, path, self._application_id, self.token)
        if method == "PATCH":  # doing it twice does no harm
            await patiently(self._rest, route, **_content(body, file))
            return
        with translated():
            await self._rest.request(route, **_content(body, file))


def webhook(method: str, path: str, application_id: int, token: str) -> Route:
    """Return the route of what follows an interaction."""
    return Route(
        method,
        "/webhooks/{webhook_id}/{webhook_token}" + path,
        webhook_id=application_id,
        webhook_token=token,
    )


def _content(body: JSON, file: Attachment | None) -> JSON:
    """Return a body as the arguments of a request, with a file where there is one."""
    if file is None:
        return {"json": body}
    body = {**body, "attachments": [{"id": 0, "filename": file.name}]}
    payload = {"name": "payload_json", "value": json.dumps(body)}
    content_type = "application/octet-stream"
    content = {"name": "files[0]", "value": file.content, "filename": file.name}
    return {"form": [payload, {**content, "content_type": content_type}]}


def _body(text: str) -> JSON:
    return {"content": text, "allowed_mentions": NOBODY, "flags": SUPPRESS_EMBEDS}


def escape_all(text: str) -> str:
    """Return a text of any length as markup, line by line where it is long."""
    if len(text) <= MAX_LENGTH:
        return escape(text)
    return "\n".join(escape(line[:MAX_LENGTH]) for line in text.split("\n"))


def _parts(text: str) -> list[str]:
    """Return a marked-up text in messages, cut between lines; what is too much is left out."""
    parts = [""]
    for line in text.split("\n"):
        if len(parts[-1]) + 1 + len(line) > MAX_LENGTH:
            parts.append("")
        parts[-1] += f"\n{line}" if parts[-1] else line
    return [part for part in parts if part.strip()][:MAX_PARTS] or ["-"]
