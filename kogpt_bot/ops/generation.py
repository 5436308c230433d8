"""The daemon's way to the generation service: its own process, or a service elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from kogpt_bot.config import GenerationSettings
from kogpt_bot.errors import KogptBotError, ModelError
from kogpt_bot.generation.client import GenerationClient
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.source import ServedModelSource
from kogpt_bot.generation.supervisor import GenerationSupervisor
from kogpt_bot.pseudonym import Pseudonyms
from kogpt_bot.secret import read_secret

log = structlog.get_logger(__name__)

LOADED_WITHIN_S = 3600.0  # the largest model from the slowest disk


Way = tuple[GenerationClient, GenerationSupervisor | None]


class GenerationLink:
    """Where text comes from now. `source` stays the same whatever it is."""

    def __init__(
        self,
        settings: GenerationSettings,
        pseudonyms: Pseudonyms,
        connect: Callable[[GenerationSettings], Way] | None = None,
    ) -> None:
        self._connect = connect or _connect
        self.settings = settings  # the ones in force
        self.client, self.supervisor = self._connect(settings)
        self.source = ServedModelSource(
            self.client, pseudonyms, self.supervisor, settings.tokenizer
        )
        self._restarts_before = 0  # of the supervisors before this one
        self._changing = asyncio.Lock()
        self._closed = False
        self._running: asyncio.Task[None] | None = None
        self._trial: asyncio.Task[None] | None = None

    @property
    def restarts(self) -> int:
        """How often the process was started again after a fault."""
        return self._restarts_before + (self.supervisor.restarts if self.supervisor else 0)

    def start(self) -> None:
        """Start the process, where it is ours."""
        if self.supervisor is not None:
            self._running = asyncio.create_task(self.supervisor.run(), name="generation")

    async def change(self, settings: GenerationSettings) -> None:
        """Serve by other settings; where their model cannot be loaded, by the old ones again.

        The old process ends before the new one begins: two large models do not fit one GPU.
        """
        async with self._changing:
            old = self.settings
            if settings == old:
                return
            made = self._connect(settings)  # a secret that cannot be read leaves all as it is
            log.info("generation_changes", model=settings.model, url=settings.url)
            if self._trial is not None:
                self._trial.cancel()
            await self._exchange(settings, made)
            if self.supervisor is not None:
                self._trial = asyncio.create_task(self._try(self.supervisor, old), name="trial")

    async def stop(self) -> None:
        """End the process and the connections, for good."""
        self._closed = True
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.wait([self._trial])
        await self._end()

    async def _try(self, supervisor: GenerationSupervisor, old: GenerationSettings) -> None:
        """Wait until the new model is there; go back to the old one where it never will be."""
        try:
            await supervisor.wait_ready(LOADED_WITHIN_S)
        except ModelError as error:
            async with self._changing:
                if self.supervisor is not supervisor or self._closed:
                    return
                log.error("generation_change_failed", why=str(error), back_to=old.model)  # noqa: TRY400
                await self._exchange(old, self._connect(old))
        except KogptBotError as error:
            log.warning("generation_not_ready", why=str(error))

    async def _exchange(self, settings: GenerationSettings, made: Way) -> None:
        await self._end()
        self.client, self.supervisor = made
        self.settings = settings
        self.source.replace(self.client, self.supervisor, settings.tokenizer)
        if not self._closed:
            self.start()

    async def _end(self) -> None:
        if self.supervisor is None:
            await self.client.close()
            return
        self._restarts_before += self.supervisor.restarts
        self.supervisor.restarts = 0  # they are counted now
        await self.supervisor.stop()
        if self._running is not None:
            await self._running


def _connect(settings: GenerationSettings) -> Way:
    key = read_secret("generation.api_key", settings.api_key_env, settings.api_key_file)
    if settings.url is not None:
        base = settings.url.rstrip("/").removesuffix("/v1")
        return GenerationClient(base, api_key=key.reveal() if key else ""), None
    supervisor = GenerationSupervisor(service_options(settings))
    return supervisor.client, supervisor


def service_options(settings: GenerationSettings) -> ServiceOptions:
    """Return what the process is told."""
    return ServiceOptions(
        model=settings.model,
        revision=settings.revision,
        device=settings.device,
        dtype=settings.dtype,
        threads=settings.threads,
        max_sequences=settings.max_sequences,
        quantization=settings.quantization,
        kv_cache_dtype=settings.kv_cache_dtype,
        kv_cache_gib=settings.kv_cache_gib,
        host_cache_gib=settings.host_cache_gib,
    )
