import pytest

from kogpt_bot.moderation import Detector
from kogpt_bot.moderation.alike import alikes, written
from kogpt_bot.moderation.romanised import sounds, sounds_of


@pytest.mark.parametrize(
    ("text", "start", "end", "canonical"),
    [
        ("지X하고 있네", 0, 2, "지랄"),  # masks
        ("야 개XX야", 2, 5, "개새끼"),
        ("개*끼 잡히면", 0, 3, "개새끼"),
        ("미친○아 운전 똑바로", 0, 3, "미친놈"),
        ("느금× 안부", 0, 3, "느금마"),
        ("엿ㅁ어라", 0, 3, "엿먹어"),  # initials
        ("저 틀ㄸ", 2, 4, "틀딱"),
        ("ㄱ자식 어디 갔어", 0, 3, "개자식"),
        ("byung신아 눈 떠", 0, 6, "병신"),  # Latin letters
        ("개se끼들 다 신고함", 0, 4, "개새끼"),
        ("미친nom이 역주행함", 0, 5, "미친놈"),
        ("mi chin nom 뭐 해", 0, 11, "미친놈"),
        ("ssiballyeon 진짜", 0, 11, "씨발년"),
        ("ppak-dae-ga-ri 야", 0, 14, "빡대가리"),
        ("저 쐉놈 봐라", 2, 4, "쌍놈"),  # by ear
        ("뒤져롸 진짜", 0, 3, "뒤져라"),
        ("tl qkf 뭐야", 0, 6, "씨발"),  # the keyboard, syllable by syllable
    ],
)
def test_a_word_is_known_by_the_rest_of_it(
    detector: Detector, text: str, start: int, end: int, canonical: str
) -> None:
    (match,) = (match for match in detector.find(text) if match.severity > 1)
    assert (match.start, match.end, match.canonical) == (start, end, canonical)


@pytest.mark.parametrize(
    "text",
    [
        "김XX 씨가 말했다",  # people and places that are not named
        "지○○ 양과 시○○도",
        "**번역이 어려울 시** 원문을 씁니다",  # stress
        "나머지 *개*의 필드",
        "#자식 #가족",
        "아이폰X 팝니다",
        "한신",  # nothing is hidden
        "우리 시x100 축척",
        "do re mi fa so",
        "foo bar baz",
        "ㅇㅋ 등록함",
        "변수 x나 y를 쓰세요",
        "도라이버 어디 있어",
        "git push so for now",
    ],
)
def test_what_only_looks_hidden_is_left_alone(detector: Detector, text: str) -> None:
    assert not detector.is_profane(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("병神 같은", "병신"), ("ズl랄 하네", "지랄"), ("口l친놈아", "미친놈"), ("Al발 뭐야", "씨발")],
)
def test_other_scripts_are_read_as_they_sound_or_look(
    detector: Detector, text: str, canonical: str
) -> None:
    assert [match.canonical for match in detector.find(text)] == [canonical]


@pytest.mark.parametrize(
    "text",
    [
        "초성 퀴즈 ㅅㅂ, 여름 과일은 수박!",
        "동물 이름 초성 힌트 ㅈㄹ, 정답은 자라",
        "ㅂㅅ은 부산의 초성이다",
        "10발을 쏴 8발을 맞혔다",
        "콜벳 C8 실물로 봤다",
        "캥거루가 새끼를 주머니에 넣고 뛴다",
        "한파가 닥쳐 수도관이 얼었다",
        "https://example.com/tlqkf",
        "TQQQ 매수",
    ],
)
def test_riddles_counts_and_nouns_excuse(detector: Detector, text: str) -> None:
    assert not detector.is_profane(text)


@pytest.mark.parametrize(
    ("latin", "hangul"),
    [
        ("byungshin", "병신"),
        ("kaesekki", "개새끼"),
        ("ssiballyeon", "씨발년"),
        ("ssibalnyeon", "씨발년"),
        ("michinnom", "미친놈"),
    ],
)
def test_spellings_sound_the_same(latin: str, hangul: str) -> None:
    assert sounds(latin) == sounds_of(hangul)


def test_what_is_no_spelling_has_no_sound() -> None:
    assert sounds("w1") == ""


def test_alikes() -> None:
    assert {"쟈", "좌", "짜"} <= alikes("자")
    assert "자" not in alikes("자")
    assert "다" not in alikes("따")  # a tense sound is not spelled plain
    assert written("병")
    assert not written("쐉")
