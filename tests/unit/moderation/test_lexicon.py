import pytest

from kogpt_bot.errors import ConfigurationError
from kogpt_bot.moderation import Detector
from kogpt_bot.moderation.lexicon import load, load_default
from kogpt_bot.moderation.pattern import PatternError, disguises, openings, parse, plain_end


def test_the_lexicon_of_the_package_is_sound() -> None:
    lexicon = load_default()
    assert {rule.category.value for rule in lexicon.rules} == {
        "욕설",
        "성적",
        "비하",
        "혐오",
        "mild",
    }
    assert all(rule.forms for rule in lexicon.rules)
    assert all(rule.forms for rule in lexicon.latin)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("{id: a, category: 욕설, severity: 2}", "missing ['forms']"),
        ("{id: a, category: 욕설, severity: 9, forms: [가]}", "severity is 1, 2 or 3"),
        ("{id: a, category: 욕, severity: 2, forms: [가]}", "'욕'"),
        ("{id: a, category: 욕설, severity: 2, forms: ['[가']}", "cannot read"),
        ("{id: a, category: 욕설, severity: 2, forms: [가], gap: none}", "unknown ['gap']"),
        ("{id: a, category: 욕설, severity: 2, forms: [가], gaps: wide}", "'wide'"),
        ("3", "expected a mapping"),
    ],
)
def test_a_fault_is_named(entry: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=r"own\.yaml") as caught:
        load(f"rules:\n  - {entry}\n", name="own.yaml")
    assert fault in str(caught.value)


def test_an_id_is_used_once() -> None:
    entry = "  - {id: a, category: 욕설, severity: 2, forms: [가]}\n"
    with pytest.raises(ConfigurationError, match="used twice"):
        load(f"rules:\n{entry}{entry}", name="own.yaml")


def test_broken_yaml_and_unknown_keys() -> None:
    with pytest.raises(ConfigurationError, match=r"own\.yaml"):
        load("rules: [", name="own.yaml")
    with pytest.raises(ConfigurationError, match="expected the keys"):
        load("rulez: []", name="own.yaml")


def test_slots() -> None:
    onset_product = parse("<ㅅㅆ/ㅣ/-ㄹ>")[0].choices
    assert onset_product == frozenset("시실씨씰")
    assert parse("가 [나다]?")[1].is_space
    with pytest.raises(PatternError, match="must begin"):
        parse("가?나")
    with pytest.raises(PatternError, match="no such jamo"):
        parse("<ㄳ/ㅣ/>")


@pytest.mark.parametrize(
    ("text", "gaps"),
    [("가나", "none"), ("가1나", "tight"), ("가.나", "tight"), ("가 나", "spaced")],
)
def test_gaps_widen_what_matches(text: str, gaps: str) -> None:
    allowed, slots = ("none", "tight", "spaced"), parse("가나")

    def matches(wide: str) -> bool:
        ends = [way.end(slots, text, 0) for way in disguises(slots, gaps=wide)]
        return plain_end(slots, text, 0) is not None or any(ends)

    assert list(map(matches, allowed)) == [
        allowed.index(wide) >= allowed.index(gaps) for wide in allowed
    ]


@pytest.mark.parametrize(
    ("form", "text", "end"),
    [
        ("가 나", "가  나", 4),
        ("가 나", "가   나", None),
        ("가나?다", "가다", 2),
        ("가나?다", "가나다", 3),
        ("발[가나]", "바ㄹ나", 3),
        ("가나", "가", None),
    ],
)
def test_a_form_as_it_stands(form: str, text: str, end: int | None) -> None:
    assert plain_end(parse(form), text, 0) == end


def test_openings_name_every_way_to_begin() -> None:
    assert set(openings("발[가나]")) == {("발", "가"), ("발", "나"), ("바", "ㄹ")}
    assert set(openings("가나?")) == {("가", "나"), ("가", "")}
    assert set(openings("가 말")) == {("가", "말"), ("가", "마")}


@pytest.mark.parametrize(
    ("excuse", "text", "harmless"),
    [
        ("not_into: [점]", "가나점", True),
        ("not_into: [점]", "가나 점심", False),
        ("not_into: [전$]", "가나전 다", True),
        ("not_into: [전$]", "가나전화", False),
        ("not_after: [점]", "가나 점", True),
        ("not_after: [전$]", "가나 전화", False),
        ("not_before: [다]", "다 가나", True),
        ("not_joined: [다]", "다 가나", False),
        ("not_joined: [다]", "다가나", True),
        ("not_near: [마바]", "마바라고 해서 가나", True),
        ("left: start", "이가나", True),
        ("left: start", "이 가나", False),
        ("left: edge", "이가나", False),
        ("left: edge", "다가나", True),
        ("left: alone", "마 가나", True),
        ("left: alone", "가나 마", False),
        ("right: alone", "가나 마", True),
        ("right: end", "가나는", True),
        ("right: edge", "가나는", False),
    ],
)
def test_what_stands_around_excuses_a_word(excuse: str, text: str, harmless: bool) -> None:
    entry = f"{{id: a, category: 욕설, severity: 2, forms: [가나], gaps: none, {excuse}}}"
    detector = Detector(load(f"rules:\n  - {entry}\n", name="own.yaml"))
    assert detector.is_profane(text) is not harmless


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("(k|g)ae(| )s(ae|e)ki", "gae seki"),
        ("(k|g)ae(| )s(ae|e)ki", "kaesaekki"),
        ("b(yeo|u)ng sin", "byeong.sin"),
        ("b(yeo|u)ng sin", "bungsiin"),
    ],
)
def test_latin_forms_have_ways_to_choose(form: str, text: str) -> None:
    entry = f"{{id: a, category: 욕설, severity: 2, forms: ['{form}']}}"
    detector = Detector(load(f"latin:\n  - {entry}\n", name="own.yaml"))
    assert [match.text for match in detector.find(f"야 {text} 뭐")] == [text]
    assert not detector.is_profane(f"x{text}")
    assert not detector.is_profane(f"{text}x")
