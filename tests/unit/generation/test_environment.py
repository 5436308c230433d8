"""The generation process is given what it needs to load and compute, and nobody's tokens."""

import os
import sys
import textwrap

from kogpt_bot.generation.environment import OURS, child_environment
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.supervisor import GenerationSupervisor

SECRETS = {
    "DISCORD_TOKEN": "s", "TELEGRAM_BOT_TOKEN": "s", "CONSOLE_TOKEN": "s", "PGPASSWORD": "s",
    "AWS_SECRET_ACCESS_KEY": "s", "KOGPT_BOT_TOKEN": "s", "CREDENTIALS_DIRECTORY": "/run/s",
    "NOTIFY_SOCKET": "@s", "OPENAI_API_KEY": "s",
}  # fmt: skip
NEEDED = {
    "PATH": "/usr/bin", "HOME": "/home/bot", "LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8",
    "XDG_CACHE_HOME": "/cache", "HF_HOME": "/hub", "HF_TOKEN": "h", "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64", "MKL_NUM_THREADS": "2",
    "OMP_NUM_THREADS": "2", "https_proxy": "http://proxy:3128", "SSL_CERT_FILE": "/ca.pem",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "PYTHONPATH": "/src",
    "KOGPT_BOT_LOG_LEVEL": "DEBUG",
}  # fmt: skip


def test_what_is_needed_goes_and_secrets_stay():
    assert child_environment(SECRETS | NEEDED) == NEEDED | OURS


def test_waiting_threads_sleep_whatever_the_daemon_was_told():
    assert child_environment({"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "PASSIVE"


async def test_the_process_itself_finds_no_secret(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    words = "print('error: ' + ' '.join(sorted(os.environ)), file=sys.stderr); sys.exit(78)"
    program = textwrap.dedent(f"import os, sys\n{words}")
    under_test = GenerationSupervisor(ServiceOptions(), command=(sys.executable, "-c", program))
    await under_test.run()
    found = set(under_test.status.detail.split())
    assert "PATH" in found
    assert not found & SECRETS.keys()
    assert found <= child_environment(os.environ).keys() | {"LC_CTYPE"}  # which Python itself sets
