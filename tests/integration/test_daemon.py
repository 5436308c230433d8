"""The daemon as a user runs it: `kogpt-bot run`, `chat`, `generate`, `doctor`, `config`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest


@pytest.fixture
def daemon(environment, tmp_path, tiny_model):
    """Start `kogpt-bot run`; give the process and the page's URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "config.yaml"
    config.write_text(
        f"adapters: {{web: {{port: {port}}}}}\n"
        f"generation: {{model: '{tiny_model}', device: cpu}}\n"
        f"defaults: {{sampling: {{max_new_tokens: 24, seed: 5}}}}\n"
        f"data_dir: '{tmp_path / 'data'}'\n"
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kogpt_bot", "run"],
            env=environment, cwd=tmp_path, stderr=log, stdout=log,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, process, tmp_path / "log")
        yield process, url
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.kill()  # nothing of a test that failed stays


def wait_for(url, process, log):
    """Wait for the page of a daemon that was just started."""
    started = time.monotonic()
    while True:
        try:
            httpx.get(f"{url}/health", timeout=1)
            return
        except httpx.HTTPError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - started < 30
            time.sleep(0.02)


def child_of(process):
    """Return the generation process."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for each in psutil.Process(process.pid).children():
            if "kogpt_bot.generation" in " ".join(each.cmdline()):
                return each
        time.sleep(0.02)
    raise AssertionError("no generation process")


def say(url, text, *, room="r", id_="", timeout=60):
    """Post a message and return the bot's finished answer."""
    body = {
        "id": id_ or f"m{time.monotonic_ns()}",
        "author": {"id": "u", "name": "민수"},
        "text": text,
    }
    with (
        httpx.Client(base_url=url, timeout=timeout) as client,
        client.stream("GET", f"/api/rooms/{room}/events") as stream,
    ):
        events = (json.loads(row[6:]) for row in stream.iter_lines() if row[:5] == "data:")
        known = {m["id"] for m in next(events)["messages"]}
        answer = client.post(f"/api/rooms/{room}/messages", json=body)
        assert answer.status_code == 202, answer.text
        for event in events:
            message = event.get("message", {})
            if message.get("bot") and message["final"] and message["id"] not in known:
                return message["text"]
    raise AssertionError("the stream ended")


def test_the_page_answers_several_turns_and_the_daemon_stays_light(daemon):
    process, url = daemon
    for text in ("안녕", "뭐 해?", "잘 가"):
        assert say(url, text).strip()
    memory = psutil.Process(process.pid).memory_info()
    assert memory.rss < 150 << 20
    libraries = {Path(m.path).name for m in psutil.Process(process.pid).memory_maps()}
    assert not any("torch" in name for name in libraries)


def test_a_killed_generation_process_is_replaced_and_the_next_message_answered(daemon):
    process, url = daemon
    assert say(url, "안녕")
    for _ in range(2):
        child_of(process).kill()
        assert say(url, "아직 있어?")
    assert process.poll() is None


def test_what_was_asked_before_a_kill_of_the_daemon_is_answered_after_it(
    daemon, environment, tmp_path
):
    process, url = daemon
    assert say(url, "안녕")
    child_of(process).suspend()  # so that the answer cannot come in time
    body = {"id": "late", "author": {"id": "u", "name": "민수"}, "text": "기다릴게"}
    assert httpx.post(f"{url}/api/rooms/r/messages", json=body).status_code == 202
    child = child_of(process)
    process.kill()
    process.wait(5)
    child.kill()
    again = subprocess.Popen(
        [sys.executable, "-m", "kogpt_bot", "run"],
        env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        texts = []
        while time.monotonic() < deadline and len(texts) < 4:
            try:
                with httpx.stream("GET", f"{url}/api/rooms/r/events", timeout=5) as stream:
                    row = next(r for r in stream.iter_lines() if r[:5] == "data:")
                    texts = [m["bot"] for m in json.loads(row[6:])["messages"] if m["final"]]
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        assert texts == [False, True, False, True]
    finally:
        again.terminate()
        assert again.wait(20) == 0


def test_a_child_does_not_outlive_a_killed_daemon(daemon):
    process, url = daemon
    assert say(url, "안녕")
    child = child_of(process)
    process.kill()
    process.wait(5)
    child.wait(10)


def test_systemd_hears_of_start_reload_and_stop(environment, tmp_path):
    config = tmp_path / "config.yaml"
    text = (
        "adapters: {web: {port: 0}}\nconsole: {port: 0}\ngeneration: {url: 'http://127.0.0.1:9'}\n"
    )
    config.write_text(text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        own = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
        process = subprocess.Popen(
            [sys.executable, "-m", "kogpt_bot", "run"],
            env=environment | own, cwd=tmp_path, stderr=subprocess.DEVNULL,
        )  # fmt: skip

        def hear(beginning):
            while not (said := manager.recv(4096).decode()).startswith(beginning):
                pass
            return said

        try:
            assert "STATUS=generation elsewhere; web running" in hear("READY=1")
            for _ in range(3):
                hear("WATCHDOG=1")
            config.write_text(text + "language: en\n")
            process.send_signal(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in hear("RELOADING=1")
            assert "configuration applied" in hear("READY=1")
            config.write_text("nonsense: 1\n")
            process.send_signal(signal.SIGHUP)
            assert "configuration refused" in hear("READY=1")
            process.send_signal(signal.SIGTERM)
            hear("STOPPING=1")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(25) == 0


def test_a_second_daemon_says_what_is_in_its_way(daemon, command, tmp_path):
    _, url = daemon
    done = command("run")
    assert done.returncode == 75
    assert "another kogpt-bot" in done.stderr
    (tmp_path / "other.yaml").write_text(
        (tmp_path / "config.yaml").read_text().replace("/data'", "/other'")
    )
    done = command("run", "-c", "other.yaml")
    assert done.returncode == 78
    assert f"cannot listen on 127.0.0.1 port {url.rsplit(':', 1)[1]}" in done.stderr
    assert "Traceback" not in done.stderr


def test_chat_once_prints_the_answer_only(command, tiny_model):
    done = command("chat", "--once", "안녕, 뭐 해?", "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


def test_chat_reads_lines_from_a_pipe(command, tiny_model):
    done = command("chat", "--model", tiny_model, stdin="안녕\n뭐 해?\n/지우기\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("코코> ") == 2
    assert "대화를 지웠어요." in done.stdout


def test_the_prompt_loop(command, tiny_model):
    done = command(
        "generate", "--model", tiny_model, "-d", "cpu", stdin="옛날 옛적에\nhot\n0.7\n\n가\n\n9\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("prompt> ") == 3
    assert done.stdout.count("옛날 옛적에") == 1
    assert "! 'hot': allowed: 0.0 to 5.0" in done.stdout
    assert "max_length(128)> " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "-c", "missing.yaml"), 78, "missing.yaml:1:1 cannot be read"),
        (("chat", "--once", "안녕", "--model", "/no/such"), 78, "no such folder; allowed: mini"),
        (("chat", "--once", " "), 78, "the message is empty"),
        (("generate", "--device", "cuda:7"), 78, "this machine has"),
        (("config", "check", "missing.yaml"), 78, "cannot be read"),
        (("serve", "--api-key-env", "NOT_SET"), 78, "NOT_SET is not set"),
        (
            ("serve", "--port", "0", "--kv-cache-gib", "0"),
            78,
            "--kv-cache-gib: 0; allowed: more than 0",
        ),
        (("serve", "--host-cache-gib", "-1"), 78, "--host-cache-gib: -1; allowed: 0 to 4096"),
        (
            ("serve", "--kv-cache-gib", "nan"),
            78,
            "--kv-cache-gib: nan; allowed: more than 0 to 4096",
        ),
        (("status",), 1, "error: no kogpt-bot runs with data_dir"),
        (("tail",), 1, "error: no kogpt-bot runs with data_dir"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_errors_are_one_line_and_an_exit_status(command, arguments, status, message):
    done = command(*arguments)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_config_commands(command, tmp_path):
    assert command("config", "init").returncode == 0
    done = command("config", "check", "config.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert command("config", "init").returncode == 78  # nothing is overwritten
    schema = json.loads(command("config", "schema").stdout)
    assert schema["$schema"].endswith("2020-12/schema")
    (tmp_path / "bad.yaml").write_text("defaults: {stream: 7}\n")
    done = command("config", "check", "bad.yaml")
    assert done.returncode == 78
    assert (
        done.stderr == "bad.yaml:1:12 defaults.stream: 7 is not allowed; allowed: true or false\n"
    )


def test_doctor(command, tmp_path):
    done = command("doctor")
    assert done.returncode == 0, done.stdout
    assert "✓ Python" in done.stdout
    found = json.loads(command("doctor", "--json").stdout)
    names = [each["name"] for each in found["below"]]
    assert names == ["configuration", "program", "model", "machine", "platforms"]
    (tmp_path / "config.yaml").write_text(
        "generation: {model: ./nothing, api_key_env: NOT_SET}\ndefaults: {x: 1}\n"
    )
    done = command("doctor")
    assert done.returncode == 1
    assert "config.yaml:2:12 defaults.x" in done.stdout


def test_nothing_heavy_is_imported_by_the_daemon():
    program = (
        "import sys; import kogpt_bot.app, kogpt_bot.cli, kogpt_bot.testing, kogpt_bot_web.adapter, "
        "kogpt_bot_terminal.adapter, kogpt_bot.generation.serve, kogpt_bot.generation.api; "
        "print([m for m in ('torch', 'transformers', 'accelerate') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


def test_profanity_is_found_line_by_line(command):
    done = command("profanity", "scan", stdin="씨발 뭐야\n시발점에서 만나\n\n")
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert [row["profane"] for row in rows] == [True, False, False]
    assert rows[0]["matches"][0]["text"] == "씨발"
    done = command("profanity", "scan", "--json", stdin='{"text": "tlqkf"}\n{"text"\n')
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    assert command("profanity", "explain", "안녕").stdout == "nothing found\n"
