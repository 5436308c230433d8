"""The wall clock jumps by an hour either way while answers wait and are written."""

import asyncio
import json
from datetime import timedelta

import pytest

from kogpt_bot.clock import SystemClock
from tests.fakes.daemon import daemon, fake_engine, generation_service
from tests.integration.test_operations import say, web_up

NO_WAIT_OVER_S = 65.0


class Jumping(SystemClock):
    """Its wall time can be set; the monotonic time cannot."""

    offset = timedelta()

    def now(self):
        return super().now() + self.offset


@pytest.mark.timeout(150)
@pytest.mark.parametrize("hours", [1, -1])
async def test_no_wait_depends_on_the_wall_clock(tmp_path, hours):
    clock, engine = Jumping(), fake_engine("네, 여기 있어요.")
    async with generation_service(engine) as url:
        text = json.dumps(
            {
                "data_dir": str(tmp_path / "data"),
                "generation": {"url": url},
                "adapters": {"web": {"port": 0}},
                "console": {"enabled": False},
                "limits": {"burst_window_s": 0.2},
            }
        )
        async with daemon(tmp_path, text, clock=clock) as under_test:
            await web_up(under_test.running)
            async with asyncio.timeout(NO_WAIT_OVER_S):
                for number in range(3):
                    answer = asyncio.create_task(
                        say(under_test.running, "아직 있어?", id_=f"m{number}")
                    )
                    while len(engine.requests) == number:  # it is on its way
                        await asyncio.sleep(0.001)
                    clock.offset += timedelta(hours=hours)
                    assert await answer == "네, 여기 있어요."
                while await under_test.running.store.turn_states() != {"replied": 3}:
                    await asyncio.sleep(0.01)
                under_test.signals.stop.set()
                await under_test.task
