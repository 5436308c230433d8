"""What the commands say, in Korean and in English."""

from __future__ import annotations

import enum

from kogpt_bot.conversation.settings import Language


class Say(enum.Enum):
    """Each sentence: Korean, English. What stands in braces is filled in."""

    SLOWLY = (
        "너무 빨라요. 잠시 후 다시 해 주세요.",
        "That is too fast. Please try again in a moment.",
    )
    FAILED = (
        "지금은 할 수 없어요. 잠시 후 다시 해 주세요.",
        "That cannot be done right now. Please try again in a moment.",
    )
    MANAGERS_ONLY = (
        "이 채널을 관리하는 분만 할 수 있어요.",
        "Only people who manage this channel may do that.",
    )
    ASKER_ONLY = (
        "물어본 분이나 이 채널을 관리하는 분만 할 수 있어요.",
        "Only who asked, or people who manage this channel, may do that.",
    )
    OWNER_ONLY = ("봇의 주인만 할 수 있어요.", "Only the bot's owner may do that.")
    NO_SERVER = (
        "여기는 서버가 아니에요. 채널 범위로 바꿔 주세요.",
        "This is no server. Choose the channel instead.",
    )
    NO_THREAD = (
        "여기는 스레드가 아니에요. 채널 범위로 바꿔 주세요.",
        "This is no thread. Choose the channel instead.",
    )
    STOPPED = ("답을 멈췄어요.", "The answer was stopped.")
    NOTHING_TO_STOP = ("지금은 쓰고 있는 답이 없어요.", "No answer is being written.")
    REGENERATING = ("답을 다시 쓸게요.", "Writing the answer anew.")
    CLEARED = ("대화를 지웠어요.", "The conversation was cleared.")
    ANSWERING = ("이 메시지에 답할게요.", "Answering this message.")
    UNKNOWN_MESSAGE = (
        "그 메시지는 기억하고 있지 않아요.",
        "I do not remember that message.",
    )
    ALREADY_ANSWERED = (
        "이미 답한 메시지예요. 다른 답이 필요하면 다시 쓰기를 눌러 주세요.",
        "That message was answered already. To get another answer, regenerate it.",
    )
    BEING_ANSWERED = ("지금 답하고 있어요.", "It is being answered right now.")
    BUSY = (
        "지금 바빠요. 잠시 후 다시 말해 주세요.",
        "I am busy right now. Please try again in a moment.",
    )
    NO_ANSWER = (
        "그 답은 더 이상 기억하고 있지 않아요.",
        "I do not remember that answer any more.",
    )
    NO_ANSWER_YET = ("아직 답한 것이 없어요.", "Nothing was answered yet.")
    DELETED = ("답을 지웠어요.", "The answer was deleted.")
    DELETED_FROM_MEMORY = (
        "기억에서 지웠어요. 화면의 글은 이 플랫폼에서 제가 지울 수 없어요.",
        "It was erased from memory. What is on the screen cannot be deleted on this platform.",
    )
    THANKS_GOOD = ("고마워요! 좋은 답으로 기록했어요.", "Thank you! Noted as a good answer.")
    THANKS_BAD = (
        "알려 주셔서 고마워요. 아쉬운 답으로 기록했어요.",
        "Thank you for telling. Noted as an answer to improve.",
    )
    REPORTED = (
        "신고했어요. 알려 주셔서 고마워요. (접수 번호 {number})",
        "Reported, thank you. (Number {number})",
    )
    NOTHING_KEPT = (
        "기억하지 않기로 하셔서 남기지 않았어요. 다시 남기려면 먼저 {opt_in_object} 해 주세요.",
        "You opted out, so nothing was stored. To change that, use {opt_in} first.",
    )
    PERSONA = (
        "저는 {is_name}. {description}\n고를 수 있는 페르소나: {names}",
        "I am {name}. {description}\nPersonas to choose from: {names}",
    )
    PERSONA_SET = ("이제부터 저는 {is_name}.", "From now on I am {name}.")
    NO_PERSONA = (
        "“{given}”{topic} 없는 페르소나예요. 고를 수 있는 페르소나: {names}",
        "There is no persona “{given}”. Personas to choose from: {names}",
    )
    SETTINGS = ("이곳에 적용된 설정이에요.", "What applies here.")
    SETTINGS_CHANGED = ("기본값과 다른 것: {changed}", "Other than built in: {changed}")
    SETTINGS_PLAIN = ("모두 기본값이에요.", "Everything is as built in.")
    SET = (
        "{object} {value_to} 바꿨어요({where}). 다음 메시지부터 적용돼요.",
        "{name} is now {value} ({where}), from the next message on.",
    )
    SET_WITHOUT_EFFECT = (
        "{object} {value_to} 바꿨지만({where}), 이곳에는 더 좁은 범위의 값 {effective_subject} "
        "적용돼요({source}).",
        "{name} is now {value} ({where}), but here the more special value {effective} applies "
        "({source}).",
    )
    RESET = (
        "{object} 되돌렸어요({where}). 이제 {effective}: {source}",
        "{name} was reset ({where}). What applies now is {effective}: {source}",
    )
    RESET_ALL = ("설정 {count}개를 되돌렸어요({where}).", "{count} settings were reset ({where}).")
    NOT_SET = (
        "여기에서 명령으로 바꾼 설정이 아니에요({where}).",
        "That was not set by a command there ({where}).",
    )
    WHICH_SETTING = ("바꿀 설정의 이름을 알려 주세요.", "Say which setting.")
    NO_SETTING = (
        "“{given}”{topic} 없는 설정이에요.{guess}",
        "There is no setting “{given}”.{guess}",
    )
    GUESS = (" 혹시 {near}?", " Did you mean {near}?")
    NOT_ALLOWED = (
        "{name}에 “{value}”{topic} 쓸 수 없어요. 쓸 수 있는 값: {allowed}",
        "{name} cannot be “{value}”. Allowed: {allowed}",
    )
    STATUS = (
        "모델: {model}\n이곳: {here}\n전체: 답 {answering}개를 쓰고 있고 {waiting}개가 기다려요.\n"
        "속도: {speed}",
        "Model: {model}\nHere: {here}\nEverywhere: {answering} being written, {waiting} waiting.\n"
        "Speed: {speed}",
    )
    MODEL_LOADING = ("아직 준비하고 있어요", "not ready yet")
    HERE_IDLE = ("기다리는 메시지가 없어요", "nothing waits")
    HERE_WRITING = ("지금 답을 쓰고 있어요", "an answer is being written")
    HERE_WAITING = (
        "지금 답을 쓰고 있고, {waiting}개가 차례를 기다려요",
        "an answer is being written, {waiting} wait for their turn",
    )
    HERE_PLACE = (
        "지금 답을 쓰고 있고, 기다리는 {waiting}개 가운데 {place}번째가 내 차례예요",
        "an answer is being written, and of {waiting} that wait yours is number {place}",
    )
    SPEED = ("최근 답은 평균 {seconds}초 걸렸어요", "recent answers took {seconds} s on average")
    SPEED_UNKNOWN = ("아직 답한 적이 없어요", "nothing was answered yet")
    FORGOTTEN = (
        "여기에서 하신 말씀 {count}개와 그에 대한 답을 지웠어요.",
        "Erased: {count} messages of yours here, and the answers to them.",
    )
    NOTHING_TO_FORGET = (
        "여기에서 하신 말씀은 저장되어 있지 않아요.",
        "Nothing that you said here is stored.",
    )
    OPTED_OUT = (
        "{erased}앞으로 하시는 말씀은 저장하지도, 읽지도 않을게요. "
        "다시 대화하고 싶으면 {opt_in_object} 해 주세요.",
        "{erased}From now on nothing you say is stored or read. To talk again, use {opt_in}.",
    )
    ERASED = ("하신 말씀 {count}개를 모두 지웠어요. ", "Erased: {count} messages of yours. ")
    OPTED_IN = (
        "다시 만나서 반가워요! 이제부터 대화를 기억할게요.",
        "Welcome back! From now on I remember our conversation.",
    )
    NEVER_OPTED_OUT = (
        "이미 대화할 수 있어요.",
        "You can talk already.",
    )
    EXPORTED = (
        "저장된 내 자료예요: 메시지 {messages}개, 답 {answers}개.",
        "What is stored about you: {messages} messages, {answers} answers.",
    )
    NO_HIT = ("그 탐지 기록을 찾을 수 없어요.", "There is no such finding.")
    NO_REVIEW = (
        "이 봇에서는 탐지 기록을 검토할 수 없어요.",
        "Findings cannot be reviewed on this bot.",
    )
    HIT_RIGHT = ("맞는 탐지로 표시했어요.", "Marked as right.")
    HIT_WRONG = ("잘못된 탐지로 표시했어요.", "Marked as a false alarm.")

    def text(self, language: Language, **fields: object) -> str:
        """Return the sentence in a language."""
        korean, english = self.value
        return str(korean if language is Language.KO else english).format(**fields)
