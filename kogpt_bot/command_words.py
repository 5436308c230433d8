"""The commands' names, labels and descriptions, in Korean and in English: the same everywhere.

Adapters register and show these. English names fit what platforms allow (Telegram: a-z, 0-9 and
_; Discord: lower case), Korean ones are one word; no description is over 100 characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kogpt_bot.messages import ActionKind


@dataclass(frozen=True, slots=True)
class Words:
    """The same words in each language."""

    ko: str
    en: str

    def of(self, language: str) -> str:
        """Return the words in a language, by its code: Korean for `ko`, else English."""
        return self.ko if language.partition("-")[0] == "ko" else self.en


@dataclass(frozen=True, slots=True)
class Argument:
    """What a person says with a command; `field` is where it goes in `Action`."""

    field: str
    name: Words
    description: Words
    required: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command as people see it.

    `label` and `emoji` are for its button. `needs_answer`: it is about one answer of the bot's,
    which a button or a menu of that message names; without `message_id` it is about the last.
    `managers`: of use to those only who may manage the channel (or are in their own chat), so
    that a platform may hide it from others; the core checks it in any case.
    """

    kind: ActionKind
    name: Words
    description: Words
    label: Words
    emoji: str = ""
    arguments: tuple[Argument, ...] = ()
    needs_answer: bool = False
    managers: bool = False


_LEVEL = Argument(
    "level",
    Words("범위", "level"),
    Words("어디까지: 채널, 서버, 스레드", "How far it reaches: channel, server, thread"),
)
_SETTING = Words("이름", "name")

_ALL = (
    Command(
        ActionKind.HELP,
        Words("도움말", "help"),
        Words("무엇을 할 수 있는지 알려 드려요", "Say what can be done here"),
        Words("도움말", "Help"),
        "❓",
    ),
    Command(
        ActionKind.STOP,
        Words("멈춤", "stop"),
        Words("쓰고 있는 답을 멈춰요", "Stop the answer that is being written"),
        Words("멈추기", "Stop"),
        "⏹️",
    ),
    Command(
        ActionKind.REGENERATE,
        Words("다시쓰기", "regenerate"),
        Words("답을 다시 써요", "Write the answer anew"),
        Words("다시 쓰기", "Regenerate"),
        "🔄",
        needs_answer=True,
    ),
    Command(
        ActionKind.ANSWER,
        Words("답하기", "answer"),
        Words("고른 메시지에 답해요", "Answer the message you chose"),
        Words("이 메시지에 답하기", "Answer this message"),
        "💬",
        (
            Argument(
                "message_id",
                Words("메시지", "message"),
                Words("답할 메시지의 번호", "The id of the message"),
                required=True,
            ),
        ),
    ),
    Command(
        ActionKind.DELETE,
        Words("답지우기", "delete"),
        Words("답을 지워요", "Delete the answer"),
        Words("지우기", "Delete"),
        "🗑️",
        needs_answer=True,
    ),
    Command(
        ActionKind.GOOD,
        Words("좋아요", "good"),
        Words("답이 마음에 든다고 알려 주세요", "Say that the answer is a good one"),
        Words("좋아요", "Good"),
        "👍",
        needs_answer=True,
    ),
    Command(
        ActionKind.BAD,
        Words("아쉬워요", "bad"),
        Words("답이 아쉽다고 알려 주세요", "Say that the answer is not a good one"),
        Words("아쉬워요", "Bad"),
        "👎",
        needs_answer=True,
    ),
    Command(
        ActionKind.REPORT,
        Words("신고", "report"),
        Words("이상한 답을 관리자에게 알려요", "Report an abnormal answer to the owner"),
        Words("신고하기", "Report"),
        "🚩",
        (
            Argument(
                "value",
                Words("이유", "reason"),
                Words("무엇이 이상한지 적어 주세요", "What is wrong with it"),
            ),
        ),
        needs_answer=True,
    ),
    Command(
        ActionKind.PERSONA,
        Words("페르소나", "persona"),
        Words("봇이 누구인지 보거나 바꿔요", "See who the bot is, or choose"),
        Words("페르소나", "Persona"),
        "🎭",
        (
            Argument(
                "value",
                Words("이름", "name"),
                Words("바꿀 페르소나의 이름", "The persona to choose"),
            ),
        ),
    ),
    Command(
        ActionKind.SETTINGS,
        Words("설정", "settings"),
        Words(
            "이곳에 적용된 설정과 그 출처를 보여 드려요",
            "Show the settings that apply here, and where each comes from",
        ),
        Words("설정", "Settings"),
        "⚙️",
    ),
    Command(
        ActionKind.SET,
        Words("설정바꾸기", "set"),
        Words("설정 하나를 바꿔요", "Change one setting"),
        Words("바꾸기", "Change"),
        arguments=(
            Argument(
                "name",
                _SETTING,
                Words("설정의 이름 (예: sampling.temperature)", "Its name (sampling.temperature)"),
                required=True,
            ),
            Argument("value", Words("값", "value"), Words("새 값", "The new value"), required=True),
            _LEVEL,
        ),
        managers=True,
    ),
    Command(
        ActionKind.RESET,
        Words("설정되돌리기", "reset"),
        Words("바꾼 설정을 되돌려요", "Take a changed setting back"),
        Words("되돌리기", "Reset"),
        arguments=(
            Argument(
                "name",
                _SETTING,
                Words("설정의 이름, 비워 두면 모두", "Its name; all, where it is left out"),
            ),
            _LEVEL,
        ),
        managers=True,
    ),
    Command(
        ActionKind.CLEAR,
        Words("대화지우기", "clear"),
        Words("이곳의 대화를 처음부터 다시 시작해요", "Start this conversation afresh"),
        Words("대화 지우기", "Clear"),
        "🧹",
        managers=True,
    ),
    Command(
        ActionKind.STATUS,
        Words("상태", "status"),
        Words("대기 순서, 모델, 속도를 보여 드려요", "Show the queue, the model and its speed"),
        Words("상태", "Status"),
        "📊",
    ),
    Command(
        ActionKind.FORGET,
        Words("잊어줘", "forget"),
        Words("여기에서 하신 말씀을 모두 지워요", "Erase what you said here"),
        Words("내 말 지우기", "Forget me here"),
        "🧽",
    ),
    Command(
        ActionKind.OPT_OUT,
        Words("기억거부", "optout"),
        Words(
            "하신 말씀을 모두 지우고 앞으로도 기억하지 않아요",
            "Erase all that you said and remember nothing from now on",
        ),
        Words("기억하지 않기", "Opt out"),
        "🙈",
    ),
    Command(
        ActionKind.OPT_IN,
        Words("기억허락", "optin"),
        Words("다시 대화하고 기억해도 된다고 알려요", "Talk with the bot again"),
        Words("다시 대화하기", "Opt in"),
        "🙋",
    ),
    Command(
        ActionKind.EXPORT,
        Words("내자료", "export"),
        Words("저장된 내 자료를 파일로 받아요", "Get all that is stored about you, as a file"),
        Words("내 자료 받기", "Export"),
        "📦",
    ),
    Command(
        ActionKind.HIT_RIGHT,
        Words("탐지맞음", "hit_right"),
        Words("비속어 탐지가 맞았다고 표시해요", "Mark a finding of profanity as right"),
        Words("맞아요", "Right"),
        "✅",
        managers=True,
    ),
    Command(
        ActionKind.HIT_WRONG,
        Words("탐지틀림", "hit_wrong"),
        Words("비속어 탐지가 틀렸다고 표시해요", "Mark a finding of profanity as a false alarm"),
        Words("틀려요", "Wrong"),
        "❌",
        managers=True,
    ),
)

COMMANDS: Mapping[ActionKind, Command] = MappingProxyType({each.kind: each for each in _ALL})
