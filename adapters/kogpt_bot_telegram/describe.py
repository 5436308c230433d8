"""What is no text becomes a few Korean words in the context: `[사진]`, `[투표: 점심 뭐 먹지?]`."""

from __future__ import annotations

from dataclasses import dataclass

from telegram import Message

MAX_DETAIL = 60  # characters of a name or a title that somebody else chose


@dataclass(frozen=True, slots=True)
class _Kind:
    """An attribute of a message, in words, and which of its own attributes say more."""

    attribute: str
    words: str
    details: tuple[str, ...] = ()
    joint: str = ": "


# In this order: an animation has a document too, and a place has a location.
_KINDS = (
    _Kind("animation", "움직이는 사진"),
    _Kind("live_photo", "사진"),
    _Kind("photo", "사진"),
    _Kind("video", "동영상"),
    _Kind("video_note", "영상 메시지"),
    _Kind("voice", "음성 메시지"),
    _Kind("audio", "음악", ("title",)),
    _Kind("document", "파일", ("file_name",)),
    _Kind("sticker", "스티커", ("emoji",), joint=" "),
    _Kind("poll", "투표", ("question",)),
    _Kind("venue", "장소", ("title",)),
    _Kind("location", "위치"),
    _Kind("contact", "연락처", ("first_name", "last_name")),
    _Kind("dice", "주사위", ("emoji", "value"), joint=" "),
    _Kind("story", "스토리"),
    _Kind("game", "게임", ("title",)),
    _Kind("checklist", "할 일 목록", ("title",)),
    _Kind("paid_media", "유료 미디어"),
    _Kind("giveaway", "경품 행사"),
    _Kind("giveaway_winners", "경품 당첨자 발표"),
    _Kind("invoice", "결제 요청", ("title",)),
)


def describe(message: Message) -> str:
    """Return the description of a message's attachment; "" where it has none."""
    for kind in _KINDS:
        attachment = getattr(message, kind.attribute, None)
        if attachment:
            said = (getattr(attachment, each, None) for each in kind.details)
            detail = _short(" ".join(str(each) for each in said if each))
            return f"[{kind.words}{kind.joint}{detail}]" if detail else f"[{kind.words}]"
    return ""


def forwarded(message: Message) -> str:
    """Return whose words a message passes on; "" where they are its author's own."""
    origin = message.forward_origin
    if origin is None or message.is_automatic_forward:
        return ""  # of a channel, in its discussion group: the channel is the author there
    chat = getattr(origin, "sender_chat", None) or getattr(origin, "chat", None)
    user = getattr(origin, "sender_user", None)
    name = getattr(origin, "sender_user_name", None) or (user and user.full_name)
    name = _short(name or (chat and chat.title) or "")
    return f"[전달한 메시지: {name}]" if name else "[전달한 메시지]"


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= MAX_DETAIL else f"{one_line[: MAX_DETAIL - 1]}…"
