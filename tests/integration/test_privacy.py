"""A person is erased from a daemon that runs: from its database, its log, and its pages."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

ME = {"id": "uid77001122334455", "name": "홍길동특이"}
OTHER = {"id": "uid-other", "name": "지은"}
SECRET = "떡볶이비밀"
ROOM = "방"


@pytest.fixture
def page(environment, tmp_path, tiny_model):
    """Run `kogpt-bot run`; give a client of its page."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "config.yaml").write_text(
        f"adapters: {{web: {{port: {port}}}}}\n"
        f"generation: {{model: '{tiny_model}', device: cpu}}\n"
        f"defaults: {{sampling: {{max_new_tokens: 8, seed: 5}}}}\n"
        f"logging: {{level: debug}}\n"
        f"data_dir: '{tmp_path / 'data'}'\n"
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kogpt_bot", "run"],
            env=environment, cwd=tmp_path, stderr=log, stdout=log,
        )  # fmt: skip
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        started = time.monotonic()
        while True:
            try:
                client.get("/health")
                break
            except httpx.HTTPError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() - started < 30
                time.sleep(0.05)
        yield client
    process.send_signal(signal.SIGTERM)
    assert process.wait(25) == 0, (tmp_path / "log").read_text()


@contextmanager
def events(client):
    with client.stream("GET", f"/api/rooms/{ROOM}/events") as stream:
        yield (json.loads(row[6:]) for row in stream.iter_lines() if row[:5] == "data:")


def say(client, id_, author, text):
    """Post a message; return the id of the bot's finished answer."""
    with events(client) as seen:
        known = {m["id"] for m in next(seen)["messages"]}
        body = {"id": id_, "author": author, "text": text}
        assert client.post(f"/api/rooms/{ROOM}/messages", json=body).status_code == 202
        for event in seen:
            message = event.get("message", {})
            if message.get("bot") and message["final"] and message["id"] not in known:
                return message["id"]
    return None


def act(client, kind, author, **fields):
    body = {"kind": kind, "author": author, **fields}
    return client.post(f"/api/rooms/{ROOM}/actions", json=body).json()


def shown(client):
    with events(client) as seen:
        return [m["text"] for m in next(seen)["messages"]]


def left(folder, *needles):
    """Return which texts stand in which files, as bytes."""
    return [
        (path.name, text)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("config.yaml", "export.json")
        for text in needles
        if text.encode() in path.read_bytes() or ascii(text)[1:-1].encode() in path.read_bytes()
    ]


def live(client):
    answer = say(client, "m1", ME, f"씨발 내 {SECRET} 들어 봐")
    for kind in ("good", "report", "export"):
        assert act(client, kind, ME, message_id=answer, value=f"{SECRET} 이상해")["done"]
    assert act(client, "set", ME, name="stream", value="off")["done"]
    assert not act(client, "set", ME, name="stream", value=SECRET)["done"]
    say(client, "m2", OTHER, "나는 지은이야")


def test_the_owner_exports_and_erases_while_the_daemon_runs(page, command, tmp_path):
    live(page)
    who = ("--adapter", "web", "--user", ME["id"])
    exported = command("data", "export", *who, "-o", "export.json")
    assert exported.returncode == 0, exported.stderr
    assert os.stat(tmp_path / "export.json").st_mode & 0o777 == 0o600
    data = json.loads((tmp_path / "export.json").read_text())
    assert [each["text"] for each in data["messages"]] == [f"씨발 내 {SECRET} 들어 봐"]
    assert len(data["answers"]) == len(data["feedback"]) == len(data["reports"]) == 1
    again = command("data", "export", *who, "-o", "export.json")
    assert again.returncode == 78
    reports = command("data", "reports")
    assert SECRET in reports.stdout
    assert ME["id"] not in reports.stdout
    assert command("data", "erase", *who, stdin="n\n").returncode == 1
    assert left(tmp_path, SECRET, ME["name"], ME["id"])
    erased = command("data", "erase", *who, "--yes")
    assert erased.returncode == 0, erased.stderr
    assert erased.stdout.startswith("erased: 1 messages")
    assert left(tmp_path, SECRET, ME["name"], ME["id"]) == []
    say(page, "m3", ME, "새로 시작해요")  # the daemon goes on, also with this person


def test_a_person_opts_out_and_the_files_follow(page, tmp_path):
    live(page)
    assert act(page, "opt_out", ME)["done"]
    assert not any(SECRET in text for text in shown(page))
    deadline = time.monotonic() + 20
    while found := left(tmp_path, SECRET, ME["name"], ME["id"]):  # the daemon rewrites its database
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    body = {"id": "m9", "author": ME, "text": f"{SECRET} 또 말해도"}
    refused = page.post(f"/api/rooms/{ROOM}/messages", json=body)
    assert refused.status_code == 422
    assert page.post(f"/api/rooms/{ROOM}/messages", json={**body, "id": "m10"}).is_success
    assert left(tmp_path, SECRET, ME["name"], ME["id"]) == []


def test_a_data_folder_without_a_database_is_said(command, tmp_path):
    (tmp_path / "config.yaml").write_text(f"data_dir: '{tmp_path / 'empty'}'\n")
    found = command("data", "export", "--adapter", "web", "--user", "u")
    assert found.returncode == 78
    assert "there is no database yet" in found.stderr
