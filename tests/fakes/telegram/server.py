"""The Bot API over HTTP: getUpdates with long polling, webhooks, and the methods that we use."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import json
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx
import telegram
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.telegram.platform import BOT, DEFAULT_UPDATES, TOKEN, ApiError, Draft, Platform

COMPLEX = {  # parameters that come as JSON
    "allowed_updates", "commands", "entities", "link_preview_options", "reply_markup",
    "reply_parameters", "scope",
}  # fmt: skip
TO_CHATS = {"sendMessage", "editMessageText", "sendMessageDraft", "deleteMessage", "sendDocument"}


@dataclass
class Call:
    """One call of the bot's."""

    method: str
    params: dict[str, Any]
    at: float


@dataclass
class Fault:
    """What a method answers instead, `times` times."""

    code: int
    description: str
    parameters: dict[str, Any] = field(default_factory=dict)
    times: int = 1
    raw: bytes | None = None  # ... a body that is no JSON
    chat: int | None = None  # only for calls about this chat
    act: bool = False  # carry the call out all the same


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self):
        yield


class FakeTelegram(Platform):
    """A platform and its server; `url` is the API's address."""

    def __init__(self) -> None:
        super().__init__()
        self.token = TOKEN
        self.calls: list[Call] = []
        self.webhook: dict[str, Any] = {}
        self.delivered: list[int] = []  # statuses that the webhook answered
        self.flood_until: dict[int, float] = {}
        self.early: list[Call] = []  # calls before `retry_after` was over
        self.terse = False  # whether this server leaves out what newer ones tell of members
        self.known = True  # whether this server knows drafts
        self.hang: set[str] = set()  # methods that never answer
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self._polling: asyncio.Event | None = None  # set to throw the present poller out
        self._pusher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> FakeTelegram:
        app = Starlette(routes=[Route("/bot{token}/{method}", self._call, methods=["POST"])])
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, lifespan="off", access_log=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.002)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url, self.port = f"http://127.0.0.1:{port}", port
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._pusher is not None:
            self._pusher.cancel()
            await asyncio.wait([self._pusher])
        if self._polling is not None:
            self._polling.set()
        await self._end()

    async def _end(self) -> None:
        """End the server at once: its own way takes a tenth of a second or two."""
        self._serving.cancel()
        await asyncio.wait([self._serving])
        for server in self._server.servers:
            server.close()
        state = self._server.server_state
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports tell their protocols

    def fail(self, method: str, code: int, description: str, **options: Any) -> Fault:
        """Let the next call of a method fail."""
        fault = Fault(code, description, **options)
        self._faults[method].append(fault)
        return fault

    def flood(self, method: str, seconds: int, *, chat: int | None = None, times: int = 1) -> Fault:
        """Let the next call of a method be refused with a flood wait."""
        description = f"Too Many Requests: retry after {seconds}"
        parameters = {"retry_after": seconds}
        return self.fail(method, 429, description, parameters=parameters, chat=chat, times=times)

    def made(self, *methods: str) -> list[Call]:
        """Return the calls of some methods."""
        return [call for call in self.calls if call.method in methods]

    async def until(self, condition, patience_s: float = 20.0) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(patience_s):
            while not condition():
                await asyncio.sleep(0.005)

    async def _call(self, request: Request) -> Response:
        try:
            method, params = request.path_params["method"], await _params(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if request.path_params["token"] != self.token:
            return _error(ApiError(401, "Unauthorized"))
        call = Call(method, params, time.monotonic())
        self.calls.append(call)
        if method in self.hang:
            await asyncio.sleep(3600)
        try:
            self._check_flood(call)
            if (fault := self._fault(method, params)) is not None:
                if fault.act:
                    await self._do(method, params, request)
                if fault.raw is not None:
                    return Response(fault.raw, status_code=fault.code)
                raise ApiError(fault.code, fault.description, **fault.parameters)
            return JSONResponse({"ok": True, "result": await self._do(method, params, request)})
        except ApiError as error:
            return _error(error)

    def _check_flood(self, call: Call) -> None:
        """Nobody may call for a chat before its flood wait is over."""
        chat = int(call.params.get("chat_id", 0))
        if call.method in TO_CHATS and (left := self.flood_until.get(chat, 0) - call.at) > 0:
            self.early.append(call)
            raise ApiError(429, "Too Many Requests: retry later", retry_after=int(left) + 1)

    def _fault(self, method: str, params: dict[str, Any]) -> Fault | None:
        for fault in self._faults[method]:
            if fault.times and fault.chat in (None, int(params.get("chat_id", 0))):
                fault.times -= 1
                if "retry_after" in fault.parameters and "chat_id" in params:
                    until = time.monotonic() + fault.parameters["retry_after"]
                    self.flood_until[int(params["chat_id"])] = until
                return fault
        return None

    async def _do(self, method: str, params: dict[str, Any], request: Request) -> Any:
        work = getattr(self, f"_{method}", None)
        if work is None or (method == "sendMessageDraft" and not self.known):
            raise ApiError(404, "Not Found")
        result = work(params)
        if asyncio.iscoroutine(result):
            result = await result
        if isinstance(result, dict) and "message_id" in result:
            parsed = telegram.Message.de_json(result, None)
            assert not parsed.api_kwargs, parsed.api_kwargs
        return result

    # Methods

    def _getMe(self, params: dict[str, Any]) -> Any:
        return BOT

    async def _getUpdates(self, params: dict[str, Any]) -> Any:
        if self.webhook.get("url"):
            raise ApiError(
                409,
                "Conflict: can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first",
            )
        if self._polling is not None:
            self._polling.set()
        mine = self._polling = asyncio.Event()
        self.allowed = set(params.get("allowed_updates", DEFAULT_UPDATES))
        offset = int(params.get("offset", 0))
        self.updates = [each for each in self.updates if each["update_id"] >= offset]
        deadline = time.monotonic() + float(params.get("timeout", 0))
        while not self.updates and time.monotonic() < deadline and not mine.is_set():
            self.changed.clear()
            waits = [asyncio.ensure_future(each.wait()) for each in (self.changed, mine)]
            left = deadline - time.monotonic()
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()
        if mine.is_set():
            raise ApiError(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot "
                "instance is running",
            )
        self._polling = None
        return self.updates[: int(params.get("limit", 100))]

    def _getWebhookInfo(self, params: dict[str, Any]) -> Any:
        info = {"url": "", "has_custom_certificate": False, "pending_update_count": 0}
        shown = {k: v for k, v in self.webhook.items() if k != "secret_token"}
        return info | shown | {"pending_update_count": len(self.updates)}

    def _setWebhook(self, params: dict[str, Any]) -> Any:
        if not params["url"].startswith("http"):
            raise ApiError(400, "Bad Request: bad webhook: HTTPS url must be provided for webhook")
        self.webhook = {"url": params["url"], "secret_token": params.get("secret_token", "")}
        self.allowed = set(params.get("allowed_updates", DEFAULT_UPDATES))
        if self._pusher is None:
            self._pusher = asyncio.create_task(self._push())
        return True

    def _deleteWebhook(self, params: dict[str, Any]) -> Any:
        self.webhook = {}
        return True

    async def _push(self) -> None:
        """Call the webhook with each update until it says 200."""
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                while not self.updates or not self.webhook:
                    self.changed.clear()
                    await self.changed.wait()
                headers = {"X-Telegram-Bot-Api-Secret-Token": self.webhook["secret_token"]}
                try:
                    answer = await client.post(
                        self.webhook["url"], json=self.updates[0], headers=headers
                    )
                    status = answer.status_code
                except httpx.HTTPError:
                    status = 0
                self.delivered.append(status)
                if status == 200:
                    del self.updates[0]
                else:
                    self.webhook["last_error_date"] = int(time.time())
                    self.webhook["last_error_message"] = f"Wrong response: {status}"
                    await asyncio.sleep(0.02)

    def _sendMessage(self, params: dict[str, Any]) -> Any:
        assert params.get("link_preview_options", {}).get("is_disabled") is True
        return self.put(params)

    def _editMessageText(self, params: dict[str, Any]) -> Any:
        return self.rewrite(params)

    def _sendMessageDraft(self, params: dict[str, Any]) -> Any:
        chat = self.reach(params)
        if chat < 0:
            raise ApiError(400, "Bad Request: TEXTDRAFT_PEER_INVALID")
        if int(params["draft_id"]) == 0:
            raise ApiError(400, "Bad Request: DRAFT_ID_INVALID")
        thread = int(params["message_thread_id"]) if "message_thread_id" in params else None
        text = self.checked(params)
        self.notify(chat, text)
        self.drafts.append(Draft(chat, int(params["draft_id"]), text, thread, time.monotonic()))
        return True

    def _deleteMessage(self, params: dict[str, Any]) -> Any:
        chat = self.reach(params)
        if self.messages.get(chat, {}).pop(int(params["message_id"]), None) is None:
            raise ApiError(400, "Bad Request: message to delete not found")
        return True

    def _sendChatAction(self, params: dict[str, Any]) -> Any:
        thread = int(params["message_thread_id"]) if "message_thread_id" in params else None
        self.typed.append((self.reach(params), thread))
        return True

    def _sendDocument(self, params: dict[str, Any]) -> Any:
        chat = self.reach(params)
        self.files.append({"chat": chat, **params})
        document = {"file_id": "f", "file_unique_id": "u", "file_name": params["file_name"]}
        return self._message(chat, BOT, None, None, document=document)

    def _answerCallbackQuery(self, params: dict[str, Any]) -> Any:
        assert len(params.get("text", "")) <= 200
        self.answers.append(params)
        return True

    def _getChatMember(self, params: dict[str, Any]) -> Any:
        user = {"id": int(params["user_id"]), "is_bot": False, "first_name": "누군가"}
        if self.terse:
            return {"status": "administrator", "user": user}
        if user["id"] in self.admins.get(int(params["chat_id"]), set()):
            return {"status": "creator", "user": user, "is_anonymous": False}
        return {"status": "member", "user": user}

    def _setMyCommands(self, params: dict[str, Any]) -> Any:
        for command in params["commands"]:
            telegram.BotCommand.de_json(command, None)
            assert len(command["command"]) <= 32
            assert command["command"].replace("_", "").isalnum()
            assert 1 <= len(command["description"]) <= 256
        self.menus.append(params)
        return True


async def _params(request: Request) -> dict[str, Any]:
    body = await request.body()
    type_ = request.headers.get("content-type", "")
    if type_.startswith("multipart/"):
        return _multipart(type_, body)
    found = dict(request.query_params) | dict(parse_qsl(body.decode(), keep_blank_values=True))
    return {k: json.loads(v) if k in COMPLEX else v for k, v in found.items()}


def _multipart(type_: str, body: bytes) -> dict[str, Any]:
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + type_.encode() + b"\r\n\r\n" + body)
    found: dict[str, Any] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if part.get_filename():
            found |= {"file_name": part.get_filename(), "content": content}
        else:
            found[name] = content.decode()
    return found


def _error(error: ApiError) -> JSONResponse:
    body = {"ok": False, "error_code": error.code, "description": error.description}
    if error.parameters:
        body["parameters"] = error.parameters
    return JSONResponse(body, status_code=error.code)
