"""Chat transcripts for tuning, in the very format of the conversation manager."""

from __future__ import annotations

import json
import lzma
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kogpt_bot.conversation import transcript
from kogpt_bot.conversation.persona import DEFAULT_PERSONA, Persona
from kogpt_bot.moderation.detector import Detector
from training.families import families
from training.templates import Turns, dialogue, with_particles

BOT = DEFAULT_PERSONA.name
OWN = Path(__file__).parent / "dialogues"
DETECTOR = Detector.default()
# The dialogue corpora lean to break-up talk; most of it is left out.
BREAK_UP = re.compile(
    r"헤어|이별|전남친|전여친|남친|여친|짝남|짝녀|재회|차였|차인|그녀|그 사람|썸|바람"
)
FAMILY = ["김", "이", "박", "최", "정", "강", "조", "윤", "장", "임"]
GIVEN = ["민수", "지수", "서연", "하늘", "준호", "지민", "유진", "현우", "수빈", "도윤", "서준", "하준", "예준", "시우", "지호", "은우", "서윤", "하은", "지유", "수아", "다은", "채원", "소율", "나은", "예린", "태양", "보라", "가을", "여름", "봄", "한별", "아름", "슬기", "진주", "영희", "철수", "동수", "미나", "성민", "재현", "혜진", "경수", "상우", "정훈", "은지", "소희", "나래", "초롱", "별이", "달님"]  # fmt: skip
NICKS = ["나", "나", "나", "나", "나", "곰돌이", "냥이", "토리", "라떼", "감자", "고구마", "초코맛쿠키", "졸린사람", "뽀로롱", "하루", "밤하늘", "별똥별", "햇살", "구름이", "콩콩이", "딸기", "망고", "밤톨", "Alex", "mina", "jun99", "K", "luna", "SeoulBoy", "kim_dev", "민수🐶", "지니✨", "🐰토끼", "하이디😊", "ㅇㅇ", "익명", "손님", "user1", "guest"]  # fmt: skip
OTHER_BOTS = [
    "하루",
    "누리",
    "다솜",
    "미르",
    "아라",
    "새봄",
    "토토",
    "모모",
    "루나",
    "별이",
    "콩이",
    "마루",
]


# Characters beside the bundled one: what is learned is to speak for whomever the header describes.
CHARACTERS = (
    DEFAULT_PERSONA.description,
    "코코는 디스코드 서버의 마스코트다. 코코는 누구에게나 친절하고 유쾌하게 대답한다.",
    "코코는 사람들의 이야기를 잘 들어 주는 상담 친구다. 코코는 따뜻한 말을 건넨다.",
    "코코는 호기심 많은 로봇이다. 코코는 짧고 명랑하게 이야기한다.",
    "코코는 책과 음악을 좋아하는 조용한 친구다. 코코는 부드럽게 말한다.",
    "코코는 채팅방에서 사람들과 이야기를 나눈다. 코코는 예의 바르고 재치 있다.",
    "코코는 게임 모임의 도우미다. 코코는 밝은 말투로 짧게 대답한다.",
    "코코는 가족 채팅방에서 함께 지내는 귀여운 친구다. 코코는 언제나 다정하다.",
)
# The name, not cocoa or coconut, and the particle on it.
_CALLED = re.compile(BOT + r"(?![아넛])(야|는|가|를|예요|랑)?")
_FORMS = {
    "야": "{아}",
    "는": "{은}",
    "가": "{이}",
    "를": "{을}",
    "예요": "{이에요}",
    "랑": "{이랑}",
}


@dataclass(frozen=True, slots=True)
class Mix:
    """The share of each kind of dialogue; what is left comes from the pairs of the corpora."""

    families: float = 0.5
    templates: float = 0.1
    own: float = 0.1
    long: float = 0.03


ALL_OWN = Mix(families=0.0, templates=0.0, own=1.0, long=0.0)


class ChatSource:
    """Gives transcripts without end: own dialogues, templates, and the corpora."""

    def __init__(self, corpus: Path | None, seed: int, *, held_out: bool = False) -> None:
        self._rng = random.Random(seed)
        self._seed = seed
        self.mix = ALL_OWN if held_out else Mix()
        learned, kept = own_split()
        self.own = kept if held_out else learned
        self._families = families()
        self.pairs = list(_pairs(corpus, "ChatbotData")) if corpus else []
        self.pairs += list(_pairs(corpus, "chatterbot-ko")) * 2 if corpus else []
        self.long = list(_long(corpus)) if corpus else []

    def at(self, step: int) -> ChatSource:
        """Return this source as it is at the beginning of a step, whatever came before."""
        self._rng.seed(f"{self._seed}:{step}")
        return self

    def transcript(self, budget: int) -> list[tuple[str, bool | None]]:
        """Return about `budget` characters as (text, whose): True the bot's answer, False what
        people say, None names and the header. The bot's answers end before their line break."""
        rng = self._rng
        persona = self._persona()
        names = self._names()
        out: list[tuple[str, bool | None]] = [(transcript.header(persona), None)]
        used = 0
        while used < budget:
            turns = self._dialogue()
            if persona.name != BOT:
                turns = [(who, renamed(text, persona.name)) for who, text in turns]
            speaker = names[0]
            for who, text in turns:
                if who == "봇":
                    out += [(transcript.cue(persona.name), None), (f" {text}", True), ("\n", None)]
                else:
                    speaker = names[int(who) % len(names)] if who.isdigit() else names[0]
                    out += [(transcript.cue(speaker), None), (f" {text}\n", False)]
                used += len(text) + 6
            if rng.random() < 0.25:
                names = self._names()
        return out

    def _dialogue(self) -> Turns:
        rng, mix = self._rng, self.mix
        pairs = 1 - mix.families - mix.templates - mix.own - mix.long
        weights = {
            "families": mix.families,
            "templates": mix.templates,
            "own": mix.own,
            "long": mix.long if self.long else 0.0,
            "pairs": max(0.0, pairs) if self.pairs else 0.0,
        }
        kind = rng.choices(list(weights), list(weights.values()))[0]
        if kind == "families":
            return rng.choice(self._families).dialogue(rng)
        if kind == "templates":
            return dialogue(rng)
        return rng.choice({"own": self.own, "long": self.long, "pairs": self.pairs}[kind])

    def _persona(self) -> Persona:
        kind = self._rng.random()
        if kind < 0.45:
            return DEFAULT_PERSONA
        if kind < 0.7:
            return replace(DEFAULT_PERSONA, examples=())
        name = self._rng.choice(OTHER_BOTS)
        described = renamed(self._rng.choice(CHARACTERS), name)
        return Persona(name=name, description=described, examples=())

    def _names(self) -> list[str]:
        rng = self._rng
        pool = rng.choice((NICKS, GIVEN, GIVEN, [f + g for f in FAMILY for g in GIVEN]))
        return [transcript.speaker_name(each) for each in rng.sample(sorted(set(pool)), 3)]


def renamed(text: str, name: str) -> str:
    """Return `text` about a bot called `name`, with the particles that fit it."""
    return with_particles(_CALLED.sub(lambda at: name + _FORMS.get(at.group(1), ""), text))


def own_split() -> tuple[list[Turns], list[Turns]]:
    """Return our own dialogues in two parts: what is learned, and a twentieth kept away."""
    written = list(own_dialogues())
    random.Random(0).shuffle(written)
    cut = len(written) // 20
    return written[cut:], written[:cut]


def own_dialogues() -> Iterator[Turns]:
    """Give the dialogues of `dialogues/`; speakers other than the bot become 0, 1, 2."""
    for path in sorted(OWN.glob("*.jsonl")):
        for row in path.read_text(encoding="utf-8").splitlines():
            if "{user}" in row:
                continue  # a model of this size makes up the names that it calls people by
            people: dict[str, str] = {}
            turns: Turns = []
            for who, text in json.loads(row)["turns"]:
                if who == BOT:
                    turns.append(("봇", transcript.utterance(text)))
                else:
                    number = people.setdefault(who, str(len(people)))
                    turns.append((number, transcript.utterance(text)))
            yield turns


def rows(corpus: Path, name: str) -> Iterator[str]:
    """Give the texts of one file of the corpus."""
    with lzma.open(corpus / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        for row in file:
            yield str(json.loads(row)["text"]).strip()


def _pairs(corpus: Path, name: str) -> Iterator[Turns]:
    rng = random.Random(0)
    for text in rows(corpus, name):
        lines = text.split("\n")
        wanted = len(lines) >= 2 and not DETECTOR.is_profane(text) and "저는 그렇게" not in text
        if wanted and (not BREAK_UP.search(text) or rng.random() < 0.1):
            yield [("나", lines[0]), ("봇", lines[1])]


def _long(corpus: Path) -> Iterator[Turns]:
    for text in rows(corpus, "XPersona-ko"):
        lines: Sequence[str] = text.split("\n")[:8]
        if len(lines) >= 4 and not DETECTOR.is_profane(text):
            yield [("나" if n % 2 == 0 else "봇", line) for n, line in enumerate(lines)]
