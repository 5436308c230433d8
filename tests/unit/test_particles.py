"""Particles follow the sound before them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kogpt_bot.particles import Particle, with_particle


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("민수", "민수는"), ("지은", "지은은"), ("코코", "코코는"), ("한별", "한별은"),
        ("지수✨", "지수✨는"), ("(지은)", "(지은)은"), ("하늘 ", "하늘 은"),
        ("Alice", "Alice는"), ("Tom", "Tom은"), ("Paul", "Paul은"), ("Jane", "Jane은"),
        ("Nicole", "Nicole은"), ("Mark", "Mark는"), ("Jack", "Jack은"), ("bot", "bot은"),
        ("Robert", "Robert는"), ("Eric", "Eric은"), ("Peter", "Peter는"), ("José", "José는"),
        ("King", "King은"), ("Chloe", "Chloe는"), ("James", "James는"), ("ｋｉｍ", "ｋｉｍ은"),
        ("GPT", "GPT는"), ("LLM", "LLM은"), ("R", "R은"), ("URL", "URL은"), ("x", "x는"),
        ("0", "0은"), ("1", "1은"), ("2", "2는"), ("3", "3은"), ("4", "4는"), ("5", "5는"),
        ("6", "6은"), ("7", "7은"), ("8", "8은"), ("9", "9는"), ("10", "10은"), ("100", "100은"),
        ("1000000000000", "1000000000000는"), ("1,000", "1,000은"), ("0.50", "0.50은"),
        ("user2", "user2는"), ("user１０", "user１０은"), ("😀", "😀은(는)"), ("", "은(는)"),
        ("漢", "漢은(는)"), ("Иван", "Иван은(는)"),
    ],
)  # fmt: skip
def test_the_topic(name, topic):
    assert with_particle(name, Particle.TOPIC) == topic


@pytest.mark.parametrize(
    ("particle", "after_vowel", "after_consonant", "after_rieul", "unknown"),
    [
        (Particle.TOPIC, "는", "은", "은", "은(는)"),
        (Particle.SUBJECT, "가", "이", "이", "이(가)"),
        (Particle.OBJECT, "를", "을", "을", "을(를)"),
        (Particle.AND, "와", "과", "과", "과(와)"),
        (Particle.TO, "로", "으로", "로", "(으)로"),
        (Particle.CALL, "야", "아", "아", "아(야)"),
        (Particle.IS, "예요", "이에요", "이에요", "이에요(예요)"),
    ],
)
def test_every_particle(particle, after_vowel, after_consonant, after_rieul, unknown):
    for name, form in [
        ("민수", after_vowel), ("지은", after_consonant), ("서울", after_rieul), ("7", after_rieul),
        ("★", unknown),
    ]:  # fmt: skip
        assert with_particle(name, particle) == name + form


@given(st.text(max_size=40), st.sampled_from(Particle))
def test_any_name_stays_and_gets_one_form(name, particle):
    said = with_particle(name, particle)
    forms = particle.value
    assert said.removeprefix(name) in (forms.consonant, forms.vowel, forms.both)


@given(st.integers(0xAC00, 0xD7A3), st.sampled_from(Particle))
def test_hangul_goes_by_its_decomposition(codepoint, particle):
    import unicodedata

    syllable = chr(codepoint)
    jamo = unicodedata.normalize("NFD", syllable)
    bare = len(jamo) == 2 or (jamo[-1] == "\u11af" and particle is Particle.TO)
    form = particle.value.vowel if bare else particle.value.consonant
    assert with_particle(syllable, particle) == syllable + form
    assert with_particle(jamo, particle) == jamo + form


@given(st.text("0123456789", min_size=1, max_size=14))
def test_numbers_end_as_they_are_read(digits):
    names = "영일이삼사오육칠팔구"
    units = ("", "십", "백", "천", "만", "만", "만", "만", "억", "억", "억", "억", "조", "조")
    zeros = len(digits) - len(digits.rstrip("0"))
    read = names[int(digits[-1])] if zeros == len(digits) or not zeros else units[zeros]
    for particle in Particle:
        form = with_particle(read, particle).removeprefix(read)
        assert with_particle(digits, particle) == digits + form
