"""What the bot says on its own account, in Korean and in English."""

from __future__ import annotations

import enum

from kogpt_bot.conversation.settings import Language


class Notice(enum.Enum):
    """Each notice: Korean, English."""

    EMPTY = ("메시지가 비어 있어요.", "The message is empty.")
    TOO_LONG = (
        "메시지가 너무 길어요. 조금 줄여서 다시 보내 주세요.",
        "The message is too long. Please shorten it.",
    )
    BUSY = (
        "지금 바빠요. 잠시 후 다시 말해 주세요.",
        "I am busy right now. Please try again in a moment.",
    )
    SLOW_DOWN = (
        "메시지가 너무 빨리 와요. 조금만 천천히 말해 주세요.",
        "You are writing too fast for me. Please slow down a little.",
    )
    LATE = (
        "답할 때를 놓쳤어요. 다시 한번 말해 주세요.",
        "It took me too long to answer. Please ask me again.",
    )
    UNAVAILABLE = (
        "지금은 답할 수 없어요. 잠시 후 다시 말해 주세요.",
        "I cannot answer right now. Please try again in a moment.",
    )
    MODEL_FAILED = (
        "모델을 불러오지 못해서 답할 수 없어요. 관리자에게 알려 주세요.",
        "The model could not be loaded, so I cannot answer. Please tell the owner.",
    )
    ANSWER_BLOCKED = (
        "하려던 말에 거친 표현이 섞여 있어서 보여 드리지 않을게요. 다르게 물어봐 주세요.",
        "My answer had harsh words in it, so I keep it to myself. Please ask in another way.",
    )
    KINDER_WORDS = (
        "조금만 더 부드러운 말로 이야기해 주시면 고맙겠어요.",
        "I would be glad if we could talk with kinder words.",
    )
    OPTED_OUT = (
        "기억하지 않기로 하셔서 말씀을 읽지 않고 있어요. "
        "다시 대화하려면 ‘기억허락’ 명령을 써 주세요.",
        "You opted out, so I do not read what you write. To talk again, use the command optin.",
    )

    def text(self, language: Language) -> str:
        """Return the notice in a language."""
        korean, english = self.value
        return korean if language is Language.KO else english
