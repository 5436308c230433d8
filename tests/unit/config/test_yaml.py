"""Strict YAML: what is refused, where, and what plain scalars mean."""

import time

import pytest

from kogpt_bot.config.yaml import MAX_BYTES, Mark, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("-12", -12),
        ("0", 0),
        ("1.50", 1.5),
        ("2e3", 2000.0),
        ("9" * 19, int("9" * 19)),
        *(
            (text, text)
            for text in ("yes", "On", "True", "010", "0x1", "12:30", "2026-01-01", "+1")
        ),
        *((text, text) for text in (".5", ".inf", ".nan", "1_000", "<<", "NULL", "=")),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_plain_scalars_mean_what_they_look_like(text, value):
    document = read(f"a: {text}\n".encode())
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)
    assert not document.faults


FAULTS = [
    ("a: 1\nb: {c: 1, c: 2}\n", "2:11 b.c", "given twice, first in line 2; allowed: once"),
    ("1: a\n'1': b\n", "2:1 1", "given twice"),
    ("x: &a 1\n", "1:4 ", "anchors"),
    ("x: *a\n", "1:4 ", "anchors"),
    ("a:\n\tb: true\n", "2:1 ", "not YAML"),
    ("a: [1\n", "2:1 ", "not YAML"),
    ("a: 1\n---\nb: 2\n", "2:1 ", "not YAML"),
    ("%YAML 9.9\n---\na: 1\n", "1:1 ", "not YAML"),
    (b"a: 1\nb: \xff\xfe\n", "2:4 ", "not UTF-8"),
    (b"\xef\xbb\xbfa: \xed\xa0\x80\n", "1:4 ", "not UTF-8"),
    ("a: 1\nb: \x01\n", "2:4 ", "U+0001 is not allowed"),
    ('a: "\\ud800"\n', "1:4 a", "U+D800 is not allowed"),
    ('a: "\\0"\n', "1:4 a", "U+0000 is not allowed"),
    ('"a\\nb": 1\n', "1:1 ", "a key must be plain text"),
    ("? [1]\n: 2\n", "1:3 ", "a key must be plain text"),
    ("'': 1\n", "1:1 ", "a key must be plain text"),
    (f"? {'k' * 201}\n: 1\n", "1:3 ", "a key must be plain text"),
    ("a: !!bool yes\n", "1:4 a", "the tag tag:yaml.org,2002:bool is not allowed"),
    ("a: !!int x\n", "1:4 a", "the tag"),
    ("a: !!python/name:os.system x\n", "1:4 a", "the tag"),
    ("a: !!python/object:os.system {}\n", "1:4 a", "the tag"),
    ("a: !!set {b}\n", "1:4 a", "the tag"),
    ("a: !own [1]\n", "1:4 a", "the tag"),
    ("a: 1e999\n", "1:4 a", "too large a number"),
    (f"a: {'9' * 5000}\n", "1:4 a", "too large a number"),
    ("a: " + "[" * 40 + "]" * 40 + "\n", "1:19 ", "nested deeper than 16"),
    ("a: " + "[" * 100_000, "1:19 ", "nested deeper than 16"),
    (b"#" * (MAX_BYTES + 1), "1:1 ", "larger than"),
]


@pytest.mark.parametrize(("text", "place", "message"), FAULTS, ids=[m for _, _, m in FAULTS])
def test_what_is_refused(text, place, message):
    document = read(text if isinstance(text, bytes) else text.encode())
    [(mark, key, found)] = document.faults
    assert f"{mark.line}:{mark.column} {key}" == place
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize("piece", ["[", "{a: ", "- ", "? ", "a: 1\n", "\\", "'", "&a ", "!a "])
def test_a_hostile_file_is_refused_in_time(piece):
    began = time.process_time()  # not what other processes take
    document = read((piece * 20_000).encode())
    assert document.faults or isinstance(document.value, str)
    assert time.process_time() - began < 10


def test_marks_are_of_keys_and_fall_back_to_what_is_around():
    document = read("가: 1\nb:\n  - {c: 2}\n".encode())
    assert document.mark(("가",)) == Mark(1, 1)
    assert document.mark(("b", 0, "c")) == Mark(3, 6)
    assert document.mark(("b", 0, "x", "y")) == Mark(3, 5)
    assert document.mark(("x",)) == Mark(1, 1)
