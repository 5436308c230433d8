"""The way to the model is exchanged, and goes back where the new one leads nowhere."""

import asyncio

import pytest
from structlog.testing import capture_logs

from kogpt_bot.config import GenerationSettings
from kogpt_bot.errors import ConfigurationError, ModelError
from kogpt_bot.generation.loading import LoadOptions
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.ops.generation import GenerationLink, service_options
from kogpt_bot.pseudonym import Pseudonyms


class FakeClient:
    closed = False

    async def close(self):
        self.closed = True


class FakeSupervisor:
    """Becomes ready, or fails with `reason`."""

    def __init__(self, model):
        self.model = model
        self.client = FakeClient()
        self.restarts = 0
        self.runs = self.stopped = False
        self.decided = asyncio.Event()
        self.reason = ""
        self._end = asyncio.Event()

    async def run(self):
        self.runs = True
        await self._end.wait()
        self.runs = False

    async def stop(self):
        self.stopped = True
        self._end.set()

    async def wait_ready(self, timeout_s):
        await self.decided.wait()
        if self.reason:
            raise ModelError(self.reason)


class Ways:
    """Makes ways and keeps them."""

    def __init__(self):
        self.made = []

    def __call__(self, settings):
        if settings.api_key_env == "MISSING":
            raise ConfigurationError("generation.api_key_env: MISSING is not set")
        if settings.url:
            self.made.append(FakeClient())
            return self.made[-1], None
        self.made.append(FakeSupervisor(settings.model))
        return self.made[-1].client, self.made[-1]


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def link():
    ways = Ways()
    link = GenerationLink(GenerationSettings(model="a"), Pseudonyms(b"k" * 32), ways)
    link.ways = ways.made
    link.start()
    await settle()
    with capture_logs() as link.logs:
        yield link
        await link.stop()
    assert not any(getattr(way, "runs", False) for way in link.ways)
    assert len(asyncio.all_tasks()) == 1


async def test_a_changed_model_gets_a_process_of_its_own_after_the_old_one(link):
    link.supervisor.restarts = 3
    await link.change(GenerationSettings(model="b"))
    await settle()
    first, second = link.ways
    assert (first.stopped, first.runs, second.runs) == (True, False, True)
    assert link.supervisor is second
    assert link.source._supervisor is second
    second.restarts = 2
    assert link.restarts == 5
    second.decided.set()
    await settle()
    assert link.settings.model == "b"


async def test_the_same_settings_change_nothing(link):
    await link.change(GenerationSettings(model="a"))
    assert len(link.ways) == 1


async def test_a_model_that_cannot_be_loaded_gives_way_to_the_old_one(link):
    await link.change(GenerationSettings(model="b"))
    link.ways[1].reason = "no weights in b"
    link.ways[1].decided.set()
    await settle()
    assert [way.model for way in link.ways] == ["a", "b", "a"]
    assert link.supervisor is link.ways[2]
    assert link.ways[2].runs
    assert link.settings.model == "a"
    said = [e for e in link.logs if e["event"] == "generation_change_failed"]
    assert [(e["why"], e["back_to"]) for e in said] == [("no weights in b", "a")]


async def test_a_second_change_ends_the_trial_of_the_first(link):
    await link.change(GenerationSettings(model="b"))
    await link.change(GenerationSettings(model="c"))
    link.ways[1].reason = "too late to matter"
    link.ways[1].decided.set()
    link.ways[2].decided.set()
    await settle()
    assert link.settings.model == "c"
    assert len(link.ways) == 3


async def test_from_a_process_to_a_service_and_back(link):
    await link.change(GenerationSettings(url="http://elsewhere"))
    assert link.supervisor is None
    assert link.ways[0].stopped
    await link.change(GenerationSettings(model="a"))
    await settle()
    assert link.ways[1].closed
    assert link.ways[2].runs


async def test_a_secret_that_is_missing_changes_nothing(link):
    with pytest.raises(ConfigurationError, match="MISSING"):
        await link.change(GenerationSettings(url="http://x", api_key_env="MISSING"))
    assert link.ways[0].runs
    assert link.settings.model == "a"


async def test_after_the_stop_nothing_is_started(link):
    await link.change(GenerationSettings(model="b"))
    link.ways[1].reason = "no weights"
    await link.stop()
    link.ways[1].decided.set()
    await settle()
    assert len(link.ways) == 2


def test_what_is_configured_reaches_the_loading():
    chosen = {
        "model": "a/b", "revision": "r", "device": "cpu", "dtype": "float32", "threads": 3,
        "quantization": "int8", "kv_cache_dtype": "int8", "kv_cache_gib": 1.5, "host_cache_gib": 0,
    }  # fmt: skip
    told = service_options(GenerationSettings(**chosen, max_sequences=5))
    assert (
        told
        == ServiceOptions.from_json(told.to_json())
        == ServiceOptions(**chosen, max_sequences=5)
    )
    assert LoadOptions.of(told) == LoadOptions(**chosen)
