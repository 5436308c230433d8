"""The configuration: every fault at once, each with its place, its key and what is allowed."""

from importlib import import_module
from pathlib import Path

import pytest

from kogpt_bot import config
from kogpt_bot.conversation.settings import PromptStyle, resolve
from kogpt_bot.errors import ConfigurationError
from kogpt_bot.messages import ChannelKey


def test_an_empty_file_is_the_defaults(load):
    assert load("") == load("# nothing\n") == load("defaults:\n") == config.load(None)


def test_all_faults_are_found_at_once_with_their_places(faults):
    found = faults(
        "langauge: ko\n"
        "defaults:\n"
        "  sampling: {temperature: 9, top_k: yes}\n"
        "  persona: nobody\n"
        "adapters:\n"
        "  web: {port: 99999}\n"
    )
    assert [line.split(":", 3)[0:3] for line in found] == [
        ["1", "1 langauge", " is not known; did you mean language? allowed"],
        ["3", "14 defaults.sampling.temperature", " 9 is not allowed; allowed"],
        ["3", "30 defaults.sampling.top_k", ' "yes" is not allowed; allowed'],
        ["4", "3 defaults.persona", ' "nobody" is not allowed; allowed'],
        ["6", "9 adapters.web.port", " 99999 is not allowed; allowed"],
    ]
    assert found[1].endswith("allowed: a number from 0 to 5")


ONE = [
    ("- 1\n", "1:1", "allowed: a section with keys"),
    ("defaults: 5\n", "1:1 defaults", "allowed: a section with keys"),
    ("defaults: {stream: on}\n", "1:12 defaults.stream", "allowed: true or false"),
    ("defaults: {stream: 1}\n", "1:12 defaults.stream", "allowed: true or false"),
    ("limits: {message_bytes: '99'}\n", "1:10 limits.message_bytes", "whole number from 64"),
    ("limits: {message_bytes: 0x40}\n", "1:10 limits.message_bytes", "whole number"),
    ("limits: {message_bytes: 99.5}\n", "1:10 limits.message_bytes", "whole number"),
    ("defaults: {prompt: {style: poem}}\n", "1:21 defaults.prompt.style", "transcript, chat"),
    ("defaults: {sampling: {seed: .nan}}\n", "1:23 defaults.sampling.seed", "allowed"),
    ("generation: {api_key: s}\n", "1:14 generation.api_key", "api_key_env or api_key_file"),
    ("generation: {url: localhost}\n", "1:14 generation.url", "allowed: http://"),
    ("overrides: {discord/1: {sampling: {heat: 1}}}\n", "1:36 overrides.discord/1.sampling.heat", "not known"),
    ("overrides: {a//b: {}}\n", "1:13 overrides.a//b", "not a scope"),
    ("personas: {x: {description: d}}\n", "1:12 personas.x", "name is missing"),
    ("personas: {x: {name: n, fallback_lines: []}}\n", "1:25 personas.x.fallback_lines", "one line at least"),
    ("personas: {x: {name: n, examples: [{speaker: a}]}}\n", "1:36 personas.x.examples[0].text", "missing"),
    ("adapters: {slack: {}}\n", "1:12 adapters.slack", "not known; allowed: discord, telegram, terminal, web"),
    ("data_dir: ''\n", "1:1 data_dir", "allowed: a folder, or null"),
    ("data_dir: ~nobody-of-this-name/x\n", "1:1 data_dir", "no such user"),
    ("generation: {url: 'http://'}\n", "1:14 generation.url", "allowed: http://HOST"),
    ("generation: {url: 'http://[::1'}\n", "1:14 generation.url", "allowed: http://HOST"),
    ("generation: {url: 'http://h:99999'}\n", "1:14 generation.url", "allowed: http://HOST"),
    ("generation: {url: 'http://me:pw@h'}\n", "1:14 generation.url", "without user and password"),
    ("generation: {device: gpu}\n", "1:14 generation.device", "allowed: auto, cpu, cuda, cuda:0"),
    ("generation: {model: ''}\n", "1:14 generation.model", "text of from 1 characters"),
    ("generation: {kv_cache_gib: 0}\n", "1:14 generation.kv_cache_gib", "allowed: a number above 0 and up to 4096"),
    ("generation: {kv_cache_gib: a lot}\n", "1:14 generation.kv_cache_gib", "allowed: a number above 0"),
    ("generation: {host_cache_gib: -1}\n", "1:14 generation.host_cache_gib", "allowed: a number from 0 to 4096"),
    ("generation: {api_key_env: A, api_key_file: b}\n", "1:30 generation.api_key_file", "beside api_key_env"),
    ("store: {url: 'mysql://me:pw@h/d'}\n", "1:9 store.url", '"mysql://me:***@h/d" is not allowed'),
    ("defaults: {trigger: {wake_words: [a, 5]}}\n", "1:38 defaults.trigger.wake_words[1]", "allowed: text"),
    ("overrides: {dicsord: {stream: true}}\n", "1:13 overrides.dicsord", "did you mean discord?"),
    ("overrides: {web: {sampling: 5}}\n", "1:19 overrides.web.sampling", "a section with keys"),
    ("overrides: {web: {sampling: {top_k: null}}}\n", "1:30 overrides.web.sampling.top_k", "whole number"),
    ("overrides: {web: {sampling.top_k: 5}}\n", "1:19 overrides.web.sampling.top_k", "not known"),
    ("overrides: {web: {persona: poet}}\n", "1:19 overrides.web.persona", "allowed: default"),
    ("overrides: {web: 5}\n", "1:13 overrides.web", "a section with keys"),
    ("personas: {x: 5}\n", "1:12 personas.x", "a section with keys"),
    ("personas: {x: {name: 'a: b'}}\n", "1:16 personas.x.name", "without a colon"),
    ("personas: {x: {name: n, fallback_lines: [' ']}}\n", "1:25 personas.x.fallback_lines", "none empty"),
    ("personas: {x: {name: n, examples: [{speaker: a, text: b, txet: c}]}}\n", "1:58 personas.x.examples[0].txet", "did you mean text?"),
    ("adapters: {web: {enabled: maybe}}\n", "1:18 adapters.web.enabled", "true or false"),
    ("adapters: {web: 5}\n", "1:12 adapters.web", "a section with keys"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "message"), ONE, ids=[place + m for _, place, m in ONE])
def test_each_kind_of_fault(faults, text, place, message):
    found = faults(text)
    assert any(line.startswith(place) and message in line for line in found), found
    assert all("\n" not in line and "Traceback" not in line for line in found)


def test_a_secret_in_the_file_is_not_repeated(faults):
    for text in (
        "generation: {api_key: hunter-2}\n",
        "generation: {api_key_env: hunter-2}\n",
        "generation: {api_key_env: [hunter-2]}\n",
        "generation: {url: 'http://hunter-2:hunter-2@h'}\n",
        "store: {url: 'mysql://u:hunter-2@h/d'}\n",
    ):
        assert not any("hunter" in line for line in faults(text))


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match=f"^{path}:1:1 cannot be read: [^\n]+$"):
            config.load(path)
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigurationError, match="larger than"):
        config.load(big)
    if Path("/dev/zero").exists():
        with pytest.raises(ConfigurationError, match="larger than"):
            config.load(Path("/dev/zero"))


def test_overrides_and_personas_reach_the_channel(load):
    settings = load(
        "language: en\n"
        "defaults: {stream: false, prompt: {style: chat}}\n"
        "personas: {poet: {name: 시인}}\n"
        "overrides:\n"
        "  web: {sampling: {temperature: 0.2}, trigger: {wake_words: [봇아, 저기]}}\n"
        "  web/-/방: {persona: poet, sampling: {seed: null}}\n"
    )
    found = resolve(ChannelKey("web", "방"), config.resolve_layers(settings)).settings
    assert (found.sampling.temperature, found.stream, found.persona) == (0.2, False, "poet")
    assert found.trigger.wake_words == ("봇아", "저기")
    assert found.prompt.style is PromptStyle.CHAT
    assert found.language == "en"
    poet = settings.personas["poet"]
    assert "시인" in poet.description
    assert poet.examples == ()
    assert poet.fallback_lines


def test_an_adapter_can_be_switched_off(load):
    assert list(load("adapters: {web: {enabled: false}}").adapters) == []
    assert list(load("adapters: {web: {enabled: false, port: 1}}").adapters) == []
    assert list(load("adapters: {terminal: {room: x}}").adapters) == ["terminal", "web"]
    assert list(load("adapters: {terminal: }").adapters) == ["terminal", "web"]


def test_a_database_elsewhere(load, faults, monkeypatch):
    url = "postgresql+asyncpg://bot@db/kogpt"
    module = import_module("kogpt_bot.config.load")
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert load(f"store: {{url: '{url}'}}").store.url == url
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    found = faults(f"store: {{url: '{url}'}}")
    assert found == ["1:9 store.url: asyncpg is not installed; pip install 'kogpt-bot[postgres]'"]


def test_the_data_folder_is_found_whatever_else_is_wrong(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"data_dir: '{tmp_path / 'x'}'\ndefaults: {{stream: 7}}\nstranger: 1\n")
    assert config.data_dir(path) == tmp_path / "x"
    path.write_text("data_dir: ''\n")
    with pytest.raises(ConfigurationError, match="data_dir"):
        config.data_dir(path)
    path.write_text("data_dir: [\n")
    with pytest.raises(ConfigurationError, match="not YAML"):
        config.data_dir(path)
