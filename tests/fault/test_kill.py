"""kill -9 at random moments: nothing is lost, and nothing is shown twice where sends have a key.

`KOGPT_BOT_KILLS` says how often (30), `KOGPT_BOT_KILL_SEED` chooses other moments.
"""

import asyncio
import os
import random

import pytest

KILLS = int(os.environ.get("KOGPT_BOT_KILLS", "30"))
SEED = int(os.environ.get("KOGPT_BOT_KILL_SEED", "1"))
CHANNELS = 20  # of each platform
MESSAGES = KILLS * 10 + CHANNELS  # the last come when the last kill is over


@pytest.mark.timeout(120 + KILLS * 6)
async def test_kills_lose_nothing_and_double_nothing(make_daemon, keyed, keyless):
    """Half of the messages go to each platform; the daemon lives for up to 1.5 s at a time."""
    draw = random.Random(SEED)
    daemon = make_daemon({"keyed": keyed, "keyless": keyless})
    said = 0

    def say(count):
        nonlocal said
        for _ in range(min(count, MESSAGES - said)):
            platform = (keyed, keyless)[said % 2]
            channel, author = f"c{draw.randrange(CHANNELS)}", f"u{said}"
            platform.say(f"{said}번째 말이에요", channel=channel, author=author)
            said += 1

    for _ in range(KILLS):
        say(5)
        await daemon.start(forked=True)
        say(5)
        await asyncio.sleep(draw.uniform(0.0, 1.5))  # the random moment itself
        await daemon.kill()
    say(MESSAGES)
    await daemon.start()
    states = await daemon.until_ended(MESSAGES)
    assert await daemon.terminate() == 0

    turns = daemon.turns()
    assert len(turns) == MESSAGES  # none is lost
    assert set(states) <= {"replied", "unknown", "dead"}
    for platform, name in ((keyed, "keyed"), (keyless, "keyless")):
        answers = platform.answers()
        own = {id_: state for (adapter, id_), state in turns.items() if adapter == name}
        assert max(answers.values()) == 1  # none is shown twice
        for id_, state in own.items():
            if state == "replied":
                assert answers[id_] == 1
            elif state == "dead":
                assert answers[id_] == 0
        unfinished = [
            shown
            for shown in platform.shown.values()
            if not shown.final and turns[name, shown.reply_to] == "replied"
        ]
        assert unfinished == []
    unknown = sum(state == "unknown" for state in turns.values())
    assert all(state != "unknown" for (name, _), state in turns.items() if name == "keyed")
    assert unknown <= KILLS
    print(f"{KILLS} kills, {MESSAGES} messages: {dict(states)}")
