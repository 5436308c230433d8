"""The families of dialogues: every wording is whole, and what was told is what is remembered."""

import random

import pytest

from kogpt_bot.conversation import transcript
from training.families import Family, families


def test_every_family_makes_whole_dialogues():
    rng = random.Random(0)
    for family in families():
        for _ in range(20):
            turns = family.dialogue(rng)
            assert [who for who, _ in turns] == ["나", "봇"] * (len(turns) // 2)
            for who, text in turns:
                assert text == transcript.utterance(text)
                assert text
                assert "{" not in (text.replace("{user}", "") if who == "봇" else text)


def test_a_word_stays_the_same_through_a_dialogue():
    family = Family(
        (("나는 {음식} 좋아해",), ("{음식2}{은} 어때요?",), ("내가?",), ("{음식}{이요}!",))
    )
    for seed in range(50):
        turns = family.dialogue(random.Random(seed))
        told = turns[0][1].removeprefix("나는 ").removesuffix(" 좋아해")
        assert not turns[1][1].startswith((f"{told}은", f"{told}는"))
        if len(turns) == 4:
            assert turns[3][1] in (f"{told}이요!", f"{told}요!")


def test_a_paragraph_where_nobody_answers_is_refused(tmp_path):
    path = tmp_path / "families.txt"
    path.write_text("> 안녕\n> 뭐 해?\n", encoding="utf-8")
    with pytest.raises(ValueError, match="alternate"):
        families(path)
