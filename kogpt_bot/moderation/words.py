"""The log's words for people: Korean, English."""

from __future__ import annotations

from collections.abc import Mapping

from kogpt_bot.store.profanity_values import Direction, Outcome

NOTICE = (
    "비속어를 찾았어요: {word} ({category}, 심각도 {severity})\n"
    "{direction} · {outcome} · {channel} · 기록 {id}번",
    "Profanity was found: {word} ({category}, severity {severity})\n"
    "{direction} · {outcome} · {channel} · hit {id}",
)
MORE = ("그 사이에 {count}건이 더 있었어요.", "There were {count} more in the meantime.")
CATEGORIES: Mapping[str, tuple[str, str]] = {
    "욕설": ("욕설", "swearing"),
    "성적": ("성적 표현", "sexual"),
    "비하": ("비하", "demeaning"),
    "혐오": ("혐오", "slur"),
    "mild": ("가벼운 말", "mild"),
}
DIRECTIONS: Mapping[Direction, tuple[str, str]] = {
    Direction.ANSWER: ("봇의 답", "an answer"),
    Direction.INCOMING: ("받은 메시지", "a message"),
    Direction.NAME: ("이름", "a name"),
}
OUTCOMES: Mapping[Outcome, tuple[str, str]] = {
    Outcome.SHOWN: ("그대로 두었어요", "left as it is"),
    Outcome.MASKED: ("○○로 가렸어요", "masked"),
    Outcome.REGENERATED: ("다시 썼어요", "written anew"),
    Outcome.FALLBACK: ("다른 말로 바꿨어요", "replaced by a line of the persona's"),
    Outcome.BLOCKED: ("보여 주지 않았어요", "not shown"),
    Outcome.IGNORED: ("답하지 않았어요", "not answered"),
    Outcome.WARNED: ("부드러운 말을 부탁했어요", "answered, with a word of warning"),
}
