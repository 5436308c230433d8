"""The configuration: every fault at once, each with its place, its key and what is allowed."""

import json
import random
from pathlib import Path

import pytest
import yaml

from kogpt_bot import config
from kogpt_bot.config.load import plugins
from kogpt_bot.conversation.settings import KEYS, PromptStyle, resolve
from kogpt_bot.errors import EXIT_CONFIGURATION, ConfigurationError
from kogpt_bot.messages import ChannelKey

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


@pytest.fixture
def faults(tmp_path):
    """Load a text; return what is said about it, line by line, without the file's name."""

    def load(text):
        path = tmp_path / "c.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigurationError) as error:
            config.load(path)
        assert error.value.exit_code == EXIT_CONFIGURATION
        lines = str(error.value).split("\n")
        assert all(line.startswith(f"{path}:") for line in lines)
        return [line.removeprefix(f"{path}:") for line in lines]

    return load


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return config.load(path)

    return load


def test_the_example_says_the_defaults_and_nothing_else():
    assert config.load(EXAMPLE) == config.load(None)
    assert config.initial_text() == EXAMPLE.read_text(encoding="utf-8")


def test_the_example_has_every_key():
    text = EXAMPLE.read_text(encoding="utf-8")
    schema = config.json_schema()
    sections = [
        schema,
        *schema["$defs"].values(),
        *schema["properties"]["adapters"]["properties"].values(),
    ]
    for section in sections:
        for key in section.get("properties", {}):
            assert f"{key}:" in text, key


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
        "  discord: {}\n"
    )
    assert [line.split(":", 3)[0:3] for line in found] == [
        ["1", "1 langauge", " is not known; did you mean language? allowed"],
        ["3", "14 defaults.sampling.temperature", " 9 is not allowed; allowed"],
        ["3", "30 defaults.sampling.top_k", ' "yes" is not allowed; allowed'],
        ["4", "3 defaults.persona", ' "nobody" is not allowed; allowed'],
        ["6", "9 adapters.web.port", " 99999 is not allowed; allowed"],
        [
            "7",
            "3 adapters.discord",
            " this adapter is not installed; pip install 'kogpt-bot[discord]'",
        ],
    ]
    assert found[1].endswith("allowed: a number from 0 to 5")


ONE = [
    ("a: 1\na: 2\n", "2:1 a", "given twice, first in line 1"),
    ("x: &a 1\ny: *a\n", "1:4", "anchors"),
    ("defaults:\n\tstream: true\n", "2:1", "not YAML"),
    ("defaults: [1\n", "2:1", "not YAML"),
    (b"language: \xff\xfe\n", "1:1", "not UTF-8"),
    ("- 1\n", "1:1", "allowed: sections with keys"),
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
    ("generation: {device: !!python/name:os.system x}\n", "1:22 generation.device", "tag"),
    ("overrides: {discord/1: {sampling: {heat: 1}}}\n", "1:36 overrides.discord/1.sampling.heat", "not known"),
    ("overrides: {a//b: {}}\n", "1:13 overrides.a//b", "not a scope"),
    ("personas: {x: {description: d}}\n", "1:12 personas.x", "name is missing"),
    ("personas: {x: {name: n, fallback_lines: []}}\n", "1:12 personas.x", "one fallback line"),
    ("personas: {x: {name: n, examples: [{speaker: a}]}}\n", "1:36 personas.x.examples[0].text", "missing"),
    ("adapters: {slack: {}}\n", "1:12 adapters.slack", "installed: terminal, web"),
    ("? [1]\n: 2\n", "1:3", "plain text"),
    ("a: " + "[" * 40 + "]" * 40 + "\n", "1:", "nested deeper"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "message"), ONE, ids=[place + m for _, place, m in ONE])
def test_each_kind_of_fault(faults, text, place, message):
    found = faults(text)
    assert any(line.startswith(place) and message in line for line in found), found
    assert all("\n" not in line and "Traceback" not in line for line in found)


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            config.load(path)
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigurationError, match="larger than"):
        config.load(big)


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
    assert list(load("adapters: {terminal: {room: x}}").adapters) == ["terminal", "web"]
    assert set(plugins()) >= {"web", "terminal"}


def test_the_schema_is_what_the_loader_takes():
    schema = config.json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))
    sampling = schema["$defs"]["Sampling"]["properties"]
    assert sampling["temperature"]["maximum"] == 5
    assert len(KEYS) == 24
    json.dumps(schema)


def mutate(value, rng):
    """Return a copy with one thing broken."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        return {**value, key: mutate(value[key], rng)}
    if isinstance(value, dict) and rng.random() < 0.5:
        return {**value, "unknown": 1}
    return rng.choice([None, -1, 10**9, "???", [], {}, ["x"], True, 0.5, {"a": {"b": 1}}])


@pytest.mark.parametrize("seed", range(100))
def test_a_broken_file_is_refused_by_key_or_is_fine(tmp_path, seed):
    rng = random.Random(seed)
    broken = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for _ in range(rng.randint(1, 4)):
        broken = mutate(broken, rng)
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(broken, allow_unicode=True), encoding="utf-8")
    try:
        config.load(path)
    except ConfigurationError as error:
        for line in str(error).split("\n"):
            place, _, message = line.removeprefix(f"{path}:").partition(": ")
            assert place.split(":")[0].isdecimal(), line
            assert message, line
