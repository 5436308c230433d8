"""The commands' words are complete, and fit what platforms allow."""

import re
from dataclasses import fields

import pytest

from kogpt_bot import COMMANDS, Action, ActionKind


def test_every_kind_has_its_words():
    assert set(COMMANDS) == set(ActionKind)
    assert all(kind is command.kind for kind, command in COMMANDS.items())


@pytest.mark.parametrize("command", COMMANDS.values(), ids=str)
def test_names_and_descriptions_fit_the_platforms(command):
    named = [command, *command.arguments]
    for each in named:
        assert re.fullmatch(r"[a-z0-9_]{1,32}", each.name.en)
        assert re.fullmatch(r"[가-힣]{1,32}", each.name.ko)
        for text in (each.description.ko, each.description.en):
            assert 3 <= len(text) <= 100
            assert not text.endswith(".")
    assert len(command.label.ko) <= 20
    assert command.label.of("ko") == command.label.of("ko-KR") == command.label.ko
    assert command.label.of("en-US") == command.label.of("ja") == command.label.en


def test_names_are_unlike():
    for language in ("ko", "en"):
        names = [command.name.of(language) for command in COMMANDS.values()]
        assert len(set(names)) == len(names)


def test_arguments_are_fields_of_an_action():
    known = {each.name for each in fields(Action)}
    for command in COMMANDS.values():
        assert {argument.field for argument in command.arguments} <= known
