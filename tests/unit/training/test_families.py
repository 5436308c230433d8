"""The families of dialogues: every wording is whole, and what was told is what is remembered."""

import itertools
import random

import pytest

from kogpt_bot.conversation import transcript
from training.families import BOT, Family, families, words


def test_every_family_makes_whole_dialogues():
    rng = random.Random(0)
    for family in families():
        for _ in range(20):
            turns = family.dialogue(rng)
            who = [each for each, _ in turns]
            assert who[0] != BOT
            assert who[-1] == BOT
            assert (BOT, BOT) not in itertools.pairwise(who)
            for _, text in turns:
                assert text == transcript.utterance(text)
                assert text
                assert "{" not in text


def test_they_make_thousands_of_different_dialogues():
    rng = random.Random(0)
    made = {tuple(family.dialogue(rng)) for family in families() for _ in range(20)}
    assert len(made) > 4000
    assert sum("1" in dict(turns) for turns in made) > 200  # more than two people in the room


def test_a_word_stays_the_same_through_a_dialogue():
    family = Family(
        ("0", BOT, "0", BOT),
        (("나는 {음식} 좋아해",), ("{음식2}{은} 어때요?",), ("내가?",), ("{음식}{이요}!",)),
    )
    for seed in range(50):
        turns = family.dialogue(random.Random(seed))
        told = turns[0][1].removeprefix("나는 ").removesuffix(" 좋아해")
        assert not turns[1][1].startswith((f"{told}은", f"{told}는"))
        if len(turns) == 4:
            assert turns[3][1] in (f"{told}이요!", f"{told}요!")


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        ("{가}{이}", "감자가"),
        ("{가}{이었어}", "감자였어"),
        ("{가}{이에요}", "감자예요"),
        ("{가}{이랑}", "감자랑"),
        ("{가}{이라니}", "감자라니"),
        ("{나}{이}", "감이"),
        ("{나}{이었어}", "감이었어"),
        ("{나}{이에요}", "감이에요"),
        ("{나}{이랑}", "감이랑"),
        ("{나}{이라니}", "감이라니"),
    ],
)
def test_endings_follow_the_last_sound(monkeypatch, text, fitted):
    monkeypatch.setattr("training.families.WORDS", {"가": ("감자", "감자"), "나": ("감", "감")})
    assert Family((BOT,), ((text,),)).dialogue(random.Random(1)) == [(BOT, fitted)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("> 안녕\n> 뭐 해?\n", "the bot ends"),
        ("< 안녕\n", "a person begins"),
        ("> 안녕\n< 네\n< 네\n", "never twice"),
        ("안녕\n< 네\n", "a line is"),
        ("> {음삭} 먹자\n< 네\n", "no such kind: 음삭"),
    ],
)
def test_a_broken_paragraph_is_refused(tmp_path, text, message):
    (tmp_path / "families.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        families(tmp_path)


def test_words_are_a_kind_a_line(tmp_path):
    (tmp_path / "words.txt").write_text("# 설명\n음식: 밥, 국 , 밥\n", encoding="utf-8")
    (tmp_path / "words-2.txt").write_text("과일: 배, 감\n", encoding="utf-8")
    assert words(tmp_path) == {"음식": ("밥", "국"), "과일": ("배", "감")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("밥, 국\n", r"words\.txt:1: `kind"),
        ("음식: 밥, 국\n음식: 배, 감\n", r"words\.txt:2: 음식 is there"),
    ],
)
def test_a_line_of_words_that_is_wrong_is_named(tmp_path, text, message):
    (tmp_path / "words.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        words(tmp_path)
