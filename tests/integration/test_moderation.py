"""The daemon's own parts and a service that says profane things, under each policy."""

import asyncio
import re
import sqlite3
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, replace

import pytest
import uvicorn

from kogpt_bot import app
from kogpt_bot.config import (
    GenerationSettings,
    Limits,
    ModerationSettings,
    Settings,
)
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from kogpt_bot.conversation.settings import (
    AnswerPolicy,
    ChannelSettings,
    IncomingPolicy,
    Profanity,
    Sampling,
)
from kogpt_bot.generation.api import Service, make_app
from kogpt_bot.generation.checkpoint import MINI
from kogpt_bot.generation.client import Completion
from kogpt_bot.generation.request import SamplingParams
from kogpt_bot.messages import Action, ActionKind, Author, ChannelKey
from kogpt_bot.ops.signals import Signals
from kogpt_bot.store.profanity_values import Direction, HitFilter, Outcome, Verdict
from kogpt_bot.testing import FakeAdapter
from tests.fakes.clock import FakeClock
from tests.fakes.fake_engine import FakeEngine, FakeInfo
from tests.fakes.tokenizer import make_tokenizer

pytestmark = pytest.mark.timeout(300)

ROOM, MODERATORS = ChannelKey("fake", "room"), ChannelKey("fake", "mods")
FOUL = " 오늘은 정말 씨발 너무 덥고 힘들어서 집에 가고 싶어요"
KIND = " 오늘은 정말 덥지만 같이 시원한 걸 먹으러 가요"
BLOCKED = "하려던 말에 거친 표현이 섞여 있어서 보여 드리지 않을게요. 다르게 물어봐 주세요."


class Engine(FakeEngine):
    """Says its lines one after the other; after the last one, that one again."""

    def __init__(self, *lines: str) -> None:
        super().__init__(
            info=replace(FakeInfo(), context_length=512),
            tokenizer_json=make_tokenizer().to_str(),
        )
        self.lines = list(lines)

    async def chunks(self, request):
        self.text = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        async for chunk in super().chunks(request):
            yield chunk


class Watched(FakeAdapter):
    """Keeps every text that anybody could have seen, and how many hits were logged by then."""

    def __init__(self, database) -> None:
        super().__init__()
        self.seen: list[tuple[str, int]] = []
        self.shown[MODERATORS] = {}
        self._database = database

    async def _set(self, channel, id_, message):
        with sqlite3.connect(self._database) as connection:
            hits = connection.execute("SELECT count(*) FROM profanity_hits").fetchone()[0]
        self.seen.append((message.text, hits))
        await super()._set(channel, id_, message)


@asynccontextmanager
async def service(engine):
    """Serve the engine through the real API, on any port; give the URL."""
    config = uvicorn.Config(
        make_app(Service(engine=engine)), port=0, log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)


@asynccontextmanager
async def daemon(folder, generation, *, seed=None, moderation=None, **rules):
    """Run the daemon in this process; give the adapter, and what runs."""
    settings = Settings(
        data_dir=folder,
        defaults=ChannelSettings(profanity=Profanity(**rules), sampling=Sampling(seed=seed)),
        personas={"default": DEFAULT_PERSONA},
        generation=generation,
        moderation=moderation or ModerationSettings(),
        limits=Limits(reply_deadline_s=60),
    )
    adapter = Watched(folder / app.DATABASE)
    signals, running = Signals(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        app.run(settings, {"fake": adapter}, signals, started=running.set_result)
    )
    try:
        await asyncio.wait({task, running}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        yield adapter, running.result()
    finally:
        signals.stop.set()
        await asyncio.wait_for(task, 30)


async def hits_of(running, count=1):
    async with asyncio.timeout(10):
        while True:
            hits = await running.store.profanity.hits(HitFilter(newest_first=False))
            if len(hits) >= count and all(hit.text.complete for hit in hits):
                return hits
            await asyncio.sleep(0.02)


async def asked(adapter, running):
    """Ask the bundled model, however long it takes; return its answer."""
    await running.supervisor.wait_ready(120)
    await adapter.say("오늘 뭐 했어?")
    async with asyncio.timeout(120):
        while not any(message.final for message in adapter.shown[ROOM].values()):
            await asyncio.sleep(0.02)
    (answer,) = await adapter.wait_for_final()
    return answer


@pytest.mark.parametrize(
    ("policy", "lines", "shown", "outcomes"),
    [
        ("log", [FOUL], [FOUL.strip()], [Outcome.SHOWN]),
        ("mask", [FOUL], [FOUL.strip().replace("씨발", "○○")], [Outcome.MASKED]),
        ("regenerate", [FOUL, KIND], [KIND.strip()], [Outcome.REGENERATED]),
        (
            "regenerate",
            [FOUL],
            list(DEFAULT_PERSONA.fallback_lines),
            [Outcome.REGENERATED, Outcome.REGENERATED, Outcome.FALLBACK],
        ),
        ("block", [FOUL], [BLOCKED], [Outcome.BLOCKED]),
    ],
)
async def test_each_policy_from_message_to_answer(tmp_path, policy, lines, shown, outcomes):
    engine = Engine(*lines)
    async with (
        service(engine) as url,
        daemon(tmp_path, GenerationSettings(url=url), policy=AnswerPolicy(policy)) as (
            adapter,
            running,
        ),
    ):
        await adapter.say("오늘 어때?")
        (answer,) = await adapter.wait_for_final()
        assert answer in shown
        hits = await hits_of(running, len(outcomes))
        assert [hit.text.outcome for hit in hits] == outcomes
        for hit in hits:
            assert hit.text.prompt.endswith("민수: 오늘 어때?\n코코:")
            assert "씨발" in hit.text.generated
            assert (hit.text.model, hit.text.revision) == ("fakes/fake", "main")
            assert hit.text.channel == str(ROOM)
        foul = [(text, logged) for text, logged in adapter.seen if "씨" in text]
        if policy == "log":
            assert foul
            assert all(logged for _, logged in foul)  # on disk before it was shown
        else:
            assert foul == []
        # What the next prompt is made of is what people saw.
        await adapter.say("그래?")
        await adapter.wait_for_final(2)
        prompt = make_tokenizer().decode(list(engine.requests[-1].prompt_ids))
        assert ("씨발" in prompt) == (policy == "log")


async def test_messages_are_ignored_and_warned_about(tmp_path):
    engine = Engine(KIND)
    async with (
        service(engine) as url,
        daemon(tmp_path, GenerationSettings(url=url), incoming=IncomingPolicy.IGNORE) as (
            adapter,
            running,
        ),
    ):
        await adapter.say("야 씨발 대답해")
        await adapter.say("안녕")
        assert await adapter.wait_for_final() == [KIND.strip()]
        prompt = make_tokenizer().decode(list(engine.requests[0].prompt_ids))
        assert "씨발" not in prompt
        assert len(engine.requests) == 1
        (hit,) = await hits_of(running)
        assert (hit.text.direction, hit.text.outcome) == (Direction.INCOMING, Outcome.IGNORED)
    other = tmp_path / "other"
    async with (
        service(Engine(KIND)) as url,
        daemon(other, GenerationSettings(url=url), incoming=IncomingPolicy.WARN) as (
            adapter,
            running,
        ),
    ):
        await adapter.say("야 씨발 대답해")
        texts = await adapter.wait_for_final(2)
        assert sorted(texts) == sorted(
            [KIND.strip(), "조금만 더 부드러운 말로 이야기해 주시면 고맙겠어요."]
        )


async def test_the_moderation_channel_hears_and_its_verdict_counts_at_once(tmp_path):
    moderation = ModerationSettings(notify=str(MODERATORS), log_file="hits.jsonl")
    async with (
        service(Engine(" 우리 동네 씨발라면 정말 맛있어요. 언제 한번 같이 가요")) as url,
        daemon(
            tmp_path, GenerationSettings(url=url), moderation=moderation, policy=AnswerPolicy.MASK
        ) as (
            adapter,
            running,
        ),
    ):
        await adapter.say("뭐 먹지?")
        (answer,) = await adapter.wait_for_final()
        assert "○○라면" in answer
        (notice,) = await adapter.wait_for_final(channel="mods")
        assert "씨○" in notice
        assert "씨발" not in notice
        (shown,) = adapter.shown[MODERATORS].values()
        manager = Author("boss", "반장")
        verdict = Action(
            ActionKind.HIT_WRONG, MODERATORS, manager, FakeClock().now(),
            subject=shown.subject, manager=True,
        )  # fmt: skip
        inbox = adapter._inbox
        assert (await inbox.act(verdict)).done
        (hit,) = await hits_of(running)
        assert hit.verdict is Verdict.FALSE_ALARM
        await adapter.say("또 뭐 먹지?")
        assert "씨발라면" in (await adapter.wait_for_final(2))[1]
        elsewhere = replace(verdict, key=ROOM)
        assert not (await inbox.act(elsewhere)).done
        assert (tmp_path / "hits.jsonl").read_text().count("\n") == 1


@pytest.mark.skipif(not (MINI / "model.safetensors").is_file(), reason="no bundled weights")
async def test_a_generated_text_is_made_again_from_what_the_log_holds(tmp_path):
    generation = GenerationSettings(device="cpu", threads=1)
    async with daemon(tmp_path / "a", generation, seed=11) as (adapter, running):
        answer = await asked(adapter, running)
    word = max(re.findall(r"[가-힣]+", answer), key=len)
    async with daemon(tmp_path / "b", generation, seed=11, extra=(word,)) as (adapter, running):
        assert await asked(adapter, running) == answer
        hit = (await hits_of(running))[0]
        assert hit.found.rule == f"extra:{word}"
        text = hit.text
        names = asdict(SamplingParams()).keys() - {"seed"}
        params = {key: value for key, value in text.sampling.items() if key in names}
        completion = Completion(
            prompt=tuple(text.request["prompt_ids"]),
            params=SamplingParams(**params, seed=text.seed),
            max_tokens=text.sampling["max_new_tokens"],
            stop=tuple(text.request["stops"]),
        )
        again = ""
        async for delta in running.supervisor.client.stream(completion):
            again += delta.text
        assert again.startswith(text.generated)
        assert word in again
