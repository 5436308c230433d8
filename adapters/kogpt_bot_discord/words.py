"""What the adapter itself says, for what only Discord has; all other words are the core's."""

from __future__ import annotations

import enum

from kogpt_bot import ScopeLevel, Words


class Say(enum.Enum):
    """Each sentence, in Korean and in English."""

    NOT_HERE = Words("여기에서는 쓸 수 없어요.", "This cannot be used here.")
    FAILED = Words(
        "지금은 할 수 없어요. 잠시 후 다시 해 주세요.",
        "That cannot be done right now. Please try again in a moment.",
    )
    NOT_STORED = Words(
        "지금은 메시지를 저장할 수 없어요. 잠시 후 다시 보내 주세요.",
        "The message cannot be stored right now. Please send it again in a moment.",
    )
    NOTHING_TO_ANSWER = Words("답할 말이 없는 메시지예요.", "There is nothing to answer in it.")
    NOT_MY_ANSWER = Words("제 답만 신고할 수 있어요.", "Only my own answers can be reported.")
    ANSWERING = Words("이 메시지에 답할게요.", "Answering this message.")
    NO_THREAD_HERE = Words(
        "여기에서는 스레드를 만들 수 없어요. 서버의 글 채널에서 해 주세요.",
        "A thread cannot be opened here. Try it in a text channel of a server.",
    )
    MAY_NOT_THREAD = Words(
        "스레드를 만들 권한이 없어요. 관리자에게 ‘공개 스레드 만들기’ 권한을 부탁해 주세요.",
        "I may not open threads here. Ask a manager for the permission Create Public Threads.",
    )
    THREAD = Words(
        "스레드를 열었어요. 그 안에서는 부르지 않아도 답해요:",
        "The thread is open. I answer everything in it:",
    )
    THREAD_NAME = Words("{name}님과 대화", "A talk with {name}")
    LEVEL = Words("어디까지 적용할지", "How far it reaches")
    PICK = Words("바꿀 설정을 고르세요", "Choose a setting")
    CHOOSE = Words("새 값을 고르세요", "Choose the new value")
    NEW_VALUE = Words("새 값 (비워 두면 되돌려요)", "New value (empty: reset)")
    RESET = Words("되돌리기", "Reset")
    BACK = Words("목록으로", "Back")
    REPORT = Words("신고하기", "Report")
    REASON = Words("무엇이 이상한가요? (비워 두어도 돼요)", "What is wrong with it? (optional)")
    TOO_LARGE = Words(
        "파일이 너무 커서 여기로 보낼 수 없어요. 관리자에게 부탁해 주세요.",
        "The file is too large to be sent here. Please ask the owner for it.",
    )

    def of(self, language: str) -> str:
        """Return the sentence in a language, by its code."""
        return self.value.of(language)


LEVELS = {
    ScopeLevel.CHANNEL: Words("채널", "channel"),
    ScopeLevel.SERVER: Words("서버", "server"),
    ScopeLevel.THREAD: Words("스레드", "thread"),
}
CHAT = Words("대화", "chat")
CHAT_DESCRIPTION = Words("코GPT에게 말을 걸어요", "Say something to the bot")
MESSAGE = Words("말", "message")
MESSAGE_DESCRIPTION = Words("하고 싶은 말", "What you want to say")
THREAD = Words("스레드", "thread")
THREAD_DESCRIPTION = Words(
    "둘만의 이야기가 이어지는 스레드를 열어요", "Open a thread for a talk of its own"
)
THREAD_TITLE = Words("제목", "title")
THREAD_TITLE_DESCRIPTION = Words("스레드의 제목", "The thread's title")
ROOT = Words("코지피티", "kogpt")
ROOT_DESCRIPTION = Words("한국어 챗봇과 대화해요", "Talk with the Korean chat-bot")
ANSWER_MENU = Words("KoGPT로 답하기", "Reply with KoGPT")
REPORT_MENU = Words("신고", "Report")
