"""Adapters of others: their settings classes, what they need, and what cannot be loaded."""

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace
from typing import Annotated

import pytest
from annotated_types import Interval
from pydantic import BaseModel, ConfigDict, Field

from kogpt_bot import config
from kogpt_bot.adapter import AdapterPlugin
from kogpt_bot.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Shard:
    id: Annotated[int, Interval(ge=0, le=9)]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Needy:
    server: str
    token_env: str | None = None
    token_file: str | None = None
    shards: tuple[Shard, ...] = ()
    by_name: dict[str, Shard] | None = None

    def __post_init__(self):
        if self.server == "bad":
            raise ValueError("this server is closed")


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)
    level: Annotated[int, Field(ge=1, le=5)] = 3


@pytest.fixture
def install(monkeypatch):
    """Install a plug-in named `fake` instead of the real ones."""

    def install(plugin, requires=()):
        module = ModuleType("a_fake_adapter")
        module.PLUGIN = plugin
        monkeypatch.setitem(sys.modules, "a_fake_adapter", module)
        entry = EntryPoint("fake", "a_fake_adapter:PLUGIN", "kogpt_bot.adapters")
        vars(entry).update(dist=SimpleNamespace(name="fake-bot", requires=list(requires)))
        monkeypatch.setattr("kogpt_bot.config.adapters.entry_points", lambda group: [entry])

    return install


def test_a_dataclass_with_keys_that_must_be_given(install, load, faults):
    install(AdapterPlugin("fake", Needy, create=object))
    assert dict(load("").adapters) == {}
    assert load("adapters: {fake: {server: s}}").adapters == {"fake": Needy("s")}
    assert faults("adapters: {fake: }\n") == [
        "1:12 adapters.fake.server: is missing; allowed: text"
    ]
    assert load("adapters: {fake: {enabled: false}}").adapters == {}


@pytest.mark.parametrize("name", ["discord", "telegram"])
def test_an_adapter_that_comes_with_an_extra_names_it(install, faults, name):
    install(AdapterPlugin("fake", Model, create=object))
    (found,) = faults(f"adapters: {{{name}: {{}}}}\n")
    assert found.endswith(f"this adapter is not installed; pip install 'kogpt-bot[{name}]'")


def test_keys_are_checked_at_every_depth(install, load, faults):
    install(AdapterPlugin("fake", Needy, create=object))
    found = load("adapters: {fake: {server: s, shards: [{id: 1}], by_name: {a: {id: 2}}}}")
    assert found.adapters["fake"] == Needy("s", shards=(Shard(1),), by_name={"a": Shard(2)})
    found = faults(
        "adapters:\n"
        "  fake:\n"
        "    server: s\n"
        "    token: t\n"
        "    shards: [{id: 10}, {id: 1, nmae: x}]\n"
        "    by_name: {a: {id: 1, x: 1}, b: {id: -1}}\n"
    )
    assert found == [
        "4:5 adapters.fake.token: a secret does not stand in the file; allowed: token_env or token_file",
        "5:15 adapters.fake.shards[0].id: 10 is not allowed; allowed: a whole number from 0 to 9",
        "5:32 adapters.fake.shards[1].nmae: is not known; did you mean name? allowed: id, name",
        "6:26 adapters.fake.by_name.a.x: is not known; allowed: id, name",
        "6:37 adapters.fake.by_name.b.id: -1 is not allowed; allowed: a whole number from 0 to 9",
    ]


def test_a_class_that_checks_itself_says_why(install, faults):
    install(AdapterPlugin("fake", Needy, create=object))
    [found] = faults("adapters: {fake: {server: bad}}\n")
    assert found.startswith("1:12 adapters.fake: ")
    assert "this server is closed" in found


def test_a_pydantic_model_will_do(install, load, faults):
    install(AdapterPlugin("fake", Model, create=object, enabled_by_default=True))
    assert load("").adapters == {"fake": Model()}
    assert faults("adapters: {fake: {level: 9, x: 1}}\n") == [
        "1:19 adapters.fake.level: 9 is not allowed; allowed: a whole number from 1 to 5",
        "1:29 adapters.fake.x: is not known; allowed: level",
    ]
    section = config.json_schema()["$defs"]["Model"]
    assert section["additionalProperties"] is False
    assert set(section["properties"]) == {"level", "enabled"}


def test_what_the_extra_brings_is_named_when_it_is_missing(install, load, faults):
    requires = [
        "httpx>=0.28",
        'nobody-has-this>=1 ; extra == "chat"',
        'pydantic ; extra == "chat"',
        'nor-this ; extra == "other"',
        'nor-that ; extra == "chat" and python_version < "3"',
    ]
    install(AdapterPlugin("fake", Model, create=object, extra="chat"), requires)
    assert load("").adapters == {}
    assert load("adapters: {fake: {enabled: false, level: 2}}").adapters == {}
    assert faults("adapters: {fake: {}}\n") == [
        "1:12 adapters.fake: nobody-has-this is not installed; pip install 'fake-bot[chat]'"
    ]


@pytest.mark.parametrize("plugin", [None, "a module without a plug-in"])
def test_a_broken_plug_in_is_named_and_can_be_switched_off(install, load, monkeypatch, plugin):
    install(plugin)
    if plugin is None:
        monkeypatch.delitem(sys.modules, "a_fake_adapter")
    with pytest.raises(
        ConfigurationError, match=r"\(no file\):1:1 adapters\.fake: .*enabled: false"
    ):
        config.load(None)
    with pytest.raises(ConfigurationError, match=r"adapters\.fake"):
        config.json_schema()
    assert load("adapters: {fake: {enabled: false}}").adapters == {}
