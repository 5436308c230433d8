"""One run of the bot: who am I, the commands, then updates by polling or a webhook until a stop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import structlog

from kogpt_bot import (
    AdapterError,
    Clock,
    ConfigurationError,
    Inbox,
    Malformed,
    RetryAfter,
    Secret,
    Unreachable,
)
from kogpt_bot_telegram import commands
from kogpt_bot_telegram.api import ALLOWED_UPDATES, Api
from kogpt_bot_telegram.caller import Caller
from kogpt_bot_telegram.commands import LANGUAGES
from kogpt_bot_telegram.handler import Handler, Surroundings
from kogpt_bot_telegram.intake import Intake
from kogpt_bot_telegram.link import Link
from kogpt_bot_telegram.poller import Poller
from kogpt_bot_telegram.rights import Rights
from kogpt_bot_telegram.settings import TelegramSettings
from kogpt_bot_telegram.teller import Teller
from kogpt_bot_telegram.waiting import unless
from kogpt_bot_telegram.webhook import WebhookServer

log = structlog.get_logger(__name__)

TELL_PATIENCE_S = 0.3  # at a stop, for what is being said
REGISTER_FIRST_S = 1.0  # between two tries
REGISTER_CAP_S = 60.0
WEBHOOK_CALLS = 40  # at a time, that Telegram may make
WEBHOOK_WATCH_S = 60.0  # between two looks at how Telegram finds our webhook


class Receiver:
    """Lives as long as one `run` of the adapter."""

    def __init__(
        self,
        api: Api,
        inbox: Inbox,
        settings: TelegramSettings,
        caller: Caller,
        link: Link,
        clock: Clock,
    ) -> None:
        self._api = api
        self._inbox = inbox
        self._settings = settings
        self._caller = caller
        self._link = link
        self._clock = clock

    async def run(
        self,
        stop: asyncio.Event,
        *,
        standing: Callable[[int, int], Awaitable[str]],
        thread_of: Callable[[int, int], int | None],
    ) -> None:
        """Hear until `stop`."""
        me = await unless(stop, self._api.me())
        if me is None:
            return
        log.info("bot", username=me.username, reads_all_groups=me.can_read_all_group_messages)
        teller = Teller(self._caller, self._clock.sleep, me.username or "")
        around = Surroundings(me, Rights(standing), teller, thread_of, self._caller.moved)
        intake = Intake(Handler(self._inbox, around).handle)
        registering = asyncio.create_task(self._register(), name="telegram commands")
        try:
            if self._settings.webhook.url is None:
                await self._poll(stop, intake)
            else:
                await self._be_called(stop, intake)
        finally:
            registering.cancel()
            await asyncio.wait([registering])
            await teller.close(TELL_PATIENCE_S)

    async def _register(self) -> None:
        """Register the commands, however long that takes; the bot talks meanwhile."""
        pause = REGISTER_FIRST_S
        waiting = [(*menu, language) for menu in commands.menus() for language in LANGUAGES]
        while waiting and self._settings.commands:
            scope, words, language = waiting[0]
            try:
                async with self._api.calling() as bot:
                    await commands.register(bot, scope, words, language)
                del waiting[0]
            except (RetryAfter, Unreachable) as error:
                wait = error.seconds if isinstance(error, RetryAfter) else pause
                pause = min(2 * pause, REGISTER_CAP_S)
                await self._clock.sleep(wait)
            except AdapterError as error:
                log.warning("commands_not_registered", why=str(error))
                return

    async def _poll(self, stop: asyncio.Event, intake: Intake) -> None:
        if await unless(stop, self._drop_webhook()) is None:
            return
        poller = Poller(self._api, intake, self._link, self._clock, self._settings.poll_timeout_s)
        await poller.run(stop)

    async def _drop_webhook(self) -> bool:
        """Take back a webhook that was set before: polling gets nothing beside one."""
        try:
            async with self._api.calling() as bot:
                if (await bot.get_webhook_info()).url:
                    await bot.delete_webhook()  # what waits there waits for the poller now
                    log.info("webhook_removed")
        except Malformed:  # a server that has no webhooks
            log.debug("no_webhooks")
        return True

    async def _be_called(self, stop: asyncio.Event, intake: Intake) -> None:
        """Serve the webhook until `stop`.

        It stays set then: Telegram keeps what comes until the next start, and a successor that
        has set its own already is left in peace.
        """
        settings = self._settings.webhook
        secret = settings.secret() or Secret(secrets.token_urlsafe(32))
        server = WebhookServer(self._api, intake, settings, secret)
        serving = asyncio.create_task(server.run(), name="telegram webhook")
        keeping = asyncio.create_task(
            unless(stop, self._keep_webhook(secret)), name="telegram webhook watch"
        )
        try:
            await asyncio.wait([serving, keeping], return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
        finally:
            keeping.cancel()
            server.stop()
            await asyncio.wait([serving, keeping])
        serving.result()

    async def _keep_webhook(self, secret: Secret) -> None:
        """Set the webhook, and look from time to time whether Telegram still calls it."""
        await self._set_webhook(secret)
        seen = None
        while True:
            await self._clock.sleep(WEBHOOK_WATCH_S)
            try:
                async with self._api.calling() as bot:
                    info = await bot.get_webhook_info()
                if info.url != self._settings.webhook.url:
                    log.warning("webhook_was_changed", remedy="one program per token")
                    await self._set_webhook(secret)
                elif info.last_error_date is not None and info.last_error_date != seen:
                    seen = info.last_error_date
                    self._link.down(f"Telegram cannot call the webhook: {info.last_error_message}")
                    log.warning("webhook_not_reached", why=info.last_error_message)
                else:
                    self._link.up()
            except AdapterError as error:
                self._link.down(str(error))

    async def _set_webhook(self, secret: Secret) -> None:
        url = self._settings.webhook.url
        try:
            async with self._api.calling() as bot:
                await bot.set_webhook(
                    url or "",
                    secret_token=secret.reveal(),
                    allowed_updates=ALLOWED_UPDATES,
                    max_connections=WEBHOOK_CALLS,
                )
        except Malformed as error:
            raise ConfigurationError(
                f"adapters.telegram.webhook.url: {url} is not taken ({error}); "
                "it is an https address that the internet reaches"
            ) from error
        self._link.up()
        log.info("webhook_set")
