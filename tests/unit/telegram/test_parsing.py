"""One update that the library does not understand holds up no other."""

import telegram

from kogpt_bot_telegram.heard import incoming
from kogpt_bot_telegram.parsing import parse
from tests.fakes.telegram import BOT, FakeTelegram

ME = telegram.User.de_json(BOT, None)


def received(**content):
    message = FakeTelegram().say("안녕") | content
    return parse({"update_id": 7, "message": message}, None)


def test_a_poll_of_an_older_server():
    poll = {
        "id": "1", "question": "점심?", "options": [{"text": "밥", "voter_count": 0}],
        "total_voter_count": 0, "is_closed": False, "is_anonymous": True, "type": "regular",
        "allows_multiple_answers": False,
    }  # fmt: skip
    found = received(poll=poll)
    assert found.id == 7
    assert incoming(found.update.message, ME).text == "[투표: 점심?] 안녕"


def test_a_part_that_is_not_understood_takes_the_text_along():
    found = received(sticker={"nonsense": True})
    assert incoming(found.update.message, ME).text == "안녕"


def test_what_is_no_message_at_all():
    assert parse({"update_id": 8, "message": {"text": "?"}}, None).update is None
    assert parse({"update_id": 9, "message": 5}, None).update is None


def test_an_update_of_a_kind_that_is_not_known_is_taken_and_does_nothing():
    found = parse({"update_id": 10, "something_new": {"id": 1}}, None)
    assert found.update is not None
    assert found.update.message is None
