"""From a message of Telegram's to what the core hears."""

import pytest
from telegram import Message, User

from kogpt_bot.messages import ChannelKey
from kogpt_bot_telegram.describe import describe
from kogpt_bot_telegram.heard import incoming, place_of
from tests.fakes.telegram import BOT, PERSON, FakeTelegram
from tests.fakes.telegram.platform import ANONYMOUS

ME = User.de_json(BOT, None)
FILE = {"file_id": "f", "file_unique_id": "u"}
USER = {"id": 5, "is_bot": False, "first_name": "하늘"}


@pytest.fixture
def platform():
    return FakeTelegram()


def heard(raw):
    return incoming(Message.de_json(raw, None), ME)


def test_a_private_message(platform):
    found = heard(platform.say("안녕 👩‍👩‍👧"))
    assert found.text == "안녕 👩‍👩‍👧"
    assert found.key == ChannelKey("telegram", str(PERSON["id"]))
    assert (found.author.id, found.author.name) == (str(PERSON["id"]), "민수")
    assert found.direct
    assert not found.mentions_bot
    assert found.sent_at.tzinfo is not None


@pytest.mark.parametrize(
    ("text", "mentions", "shown"),
    [
        ("@koko_bot 안녕", True, "코코 안녕"),
        ("😀 @KOKO_BOT 안녕 @koko_bot", True, "😀 코코 안녕 코코"),
        ("@someone 안녕", False, "@someone 안녕"),
        ("코코야 안녕", False, "코코야 안녕"),
        ("/hello@koko_bot", True, "/hello@koko_bot"),
    ],
)
def test_the_bot_is_mentioned(platform, text, mentions, shown):
    found = heard(platform.say(text, chat=platform.group()))
    assert (found.mentions_bot, found.text, found.direct) == (mentions, shown, False)


def test_the_bot_is_mentioned_without_its_username(platform):
    entity = {"type": "text_mention", "offset": 3, "length": 2, "user": BOT}
    assert heard(platform.say("야, 코코!", chat=platform.group(), entities=[entity])).mentions_bot
    entity["user"] = USER
    assert not heard(platform.say("야, 하늘", entities=[entity])).mentions_bot


def test_a_mention_in_a_caption(platform):
    entity = {"type": "mention", "offset": 0, "length": 9}
    raw = platform.say(
        None, chat=platform.group(), caption="@koko_bot 이거 봐", caption_entities=[entity],
        photo=[{**FILE, "width": 1, "height": 1}],
    )  # fmt: skip
    found = heard(raw)
    assert found.mentions_bot
    assert found.text == "[사진] 코코 이거 봐"


def test_a_reply_to_the_bot(platform):
    group = platform.group()
    answer = platform._message(group, BOT, None, None, text="네")
    found = heard(platform.say("왜?", chat=group, reply_to=answer["message_id"]))
    assert found.replies_to_bot
    assert found.reply_to == str(answer["message_id"])
    question = platform.say("안녕", chat=group)
    assert not heard(
        platform.say("왜?", chat=group, reply_to=question["message_id"])
    ).replies_to_bot


def test_a_topic_is_a_conversation_of_its_own(platform):
    group = platform.group(is_forum=True)
    made = platform._message(
        group, BOT, 7, None, forum_topic_created={"name": "잡담", "icon_color": 1}
    )
    raw = platform.say("안녕", chat=group, thread=7, reply_to=made["message_id"])
    found = heard(raw)
    assert found.key == ChannelKey("telegram", str(group), thread="7")
    assert not found.replies_to_bot  # it stands in a topic that the bot made; that is no answer
    assert found.reply_to == ""
    private = heard(platform.say("안녕", thread=3))
    assert private.key.thread == "3"
    assert private.direct


def test_replies_outside_of_topics_make_no_conversation(platform):
    raw = platform.say("안녕", chat=platform.group(), message_thread_id=55)
    assert heard(raw).key.thread == ""


def test_an_anonymous_administrator_and_a_channel_speak_as_chats(platform):
    group = platform.group()
    chat = platform.chats[group]
    found = heard(
        platform.say("공지", chat=group, user=ANONYMOUS, sender_chat=chat, author_signature="방장")
    )
    assert (found.author.id, found.author.name, found.author.is_bot) == (str(group), "방장", False)
    channel = platform.group(-1009, type="channel")
    post = platform.say(
        "새 글", chat=channel, user=None, kind="channel_post", sender_chat=platform.chats[channel]
    )
    found = heard(post)
    assert (found.author.name, found.author.is_bot) == ("우리 모임", False)
    assert found.key == ChannelKey("telegram", "-1009")


def test_nobody_says_anything_in_a_service_message(platform):
    for more in (
        {"new_chat_members": [USER]}, {"new_chat_title": "새 이름"}, {"group_chat_created": True},
    ):  # fmt: skip
        assert heard(platform.say(None, chat=platform.group(), **more)) is None


SIZE = {"width": 1, "height": 1}
ATTACHMENTS = [
    ({"photo": [{**FILE, **SIZE}]}, "[사진]"),
    ({"video": {**FILE, **SIZE, "duration": 1}}, "[동영상]"),
    ({"voice": {**FILE, "duration": 1}}, "[음성 메시지]"),
    ({"video_note": {**FILE, "length": 1, "duration": 1}}, "[영상 메시지]"),
    ({"audio": {**FILE, "duration": 1, "title": "봄날"}}, "[음악: 봄날]"),
    ({"document": {**FILE, "file_name": "숙제.hwp"}}, "[파일: 숙제.hwp]"),
    ({"document": FILE}, "[파일]"),
    (
        {"animation": {**FILE, **SIZE, "duration": 1}, "document": {**FILE, "file_name": "a.mp4"}},
        "[움직이는 사진]",
    ),
    (
        {"sticker": {**FILE, **SIZE, "type": "regular", "is_animated": False, "is_video": False,
                     "emoji": "😀"}},
        "[스티커 😀]",
    ),
    ({"location": {"longitude": 1.0, "latitude": 2.0}}, "[위치]"),
    (
        {"venue": {"location": {"longitude": 1.0, "latitude": 2.0}, "title": "학교", "address": "a"},
         "location": {"longitude": 1.0, "latitude": 2.0}},
        "[장소: 학교]",
    ),
    ({"contact": {"phone_number": "1", "first_name": "지은", "last_name": "김"}}, "[연락처: 지은 김]"),
    ({"dice": {"emoji": "🎲", "value": 5}}, "[주사위 🎲 5]"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "words"), ATTACHMENTS)
def test_what_is_no_text_is_described(platform, more, words):
    assert heard(platform.say(None, **more)).text == words


def test_a_poll_is_described_by_its_question(platform):
    poll = {
        "id": "1", "question": "점심 뭐 먹지?\n" + "ㅋ" * 100, "options": [],
        "total_voter_count": 0, "is_closed": False, "is_anonymous": True, "type": "regular",
        "allows_multiple_answers": False, "allows_revoting": False, "members_only": False,
    }  # fmt: skip
    text = heard(platform.say(None, poll=poll)).text
    assert text.startswith("[투표: 점심 뭐 먹지? ㅋ")
    assert text.endswith("…]")
    assert len(text) < 75


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ({"type": "user", "sender_user": USER}, "[전달한 메시지: 하늘] 글"),
        ({"type": "hidden_user", "sender_user_name": "누군가"}, "[전달한 메시지: 누군가] 글"),
        (
            {"type": "channel", "chat": {"id": -5, "type": "channel", "title": "소식"},
             "message_id": 1},
            "[전달한 메시지: 소식] 글",
        ),
        (
            {"type": "chat", "sender_chat": {"id": -5, "type": "supergroup", "title": "모임"}},
            "[전달한 메시지: 모임] 글",
        ),
    ],
)  # fmt: skip
def test_words_of_others_are_said_to_be_theirs(platform, origin, words):
    raw = platform.say("글", forward_origin={"date": 1, **origin})
    assert heard(raw).text == words


def test_a_channels_post_in_its_discussion_is_its_own(platform):
    channel = {"id": -5, "type": "channel", "title": "소식"}
    raw = platform.say(
        "새 글", chat=platform.group(), is_automatic_forward=True, sender_chat=channel,
        forward_origin={"type": "channel", "date": 1, "chat": channel, "message_id": 1},
    )  # fmt: skip
    assert heard(raw).text == "새 글"
    assert heard(raw).author.name == "소식"


def test_a_text_has_no_description(platform):
    raw = platform.say("글")
    assert describe(Message.de_json(raw, None)) == ""
    assert place_of(Message.de_json(raw, None)).thread == ""
