"""The chat page in a real browser, with the bundled model."""

import asyncio
import json
import shutil

import pytest

from kogpt_bot import app, config
from kogpt_bot.evaluation.served import own_service
from kogpt_bot.generation import client
from kogpt_bot.generation.checkpoint import MINI
from kogpt_bot.ops.signals import Signals

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium"),
    pytest.mark.skipif(not (MINI / "model.safetensors").is_file(), reason="no bundled weights"),
]
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--no-first-run", "--disable-quic",
]  # fmt: skip


@pytest.fixture(scope="session")
def service():
    """Serve the bundled model once for all daemons: most of a start is the import of torch."""
    with own_service("mini", None, None) as target:
        yield target.url


@pytest.fixture
def generation(service):
    """Return where the daemon has its text from."""
    return {"url": service}


@pytest.fixture
async def url(tmp_path, generation):
    """Run the daemon in this process, on any free port."""
    path = tmp_path / "c.yaml"
    web, folder = {"web": {"port": 0}}, str(tmp_path)
    path.write_text(json.dumps({"adapters": web, "data_dir": folder, "generation": generation}))
    settings = config.load(path)
    adapters = app.make_adapters(settings)
    signals = Signals()
    task = asyncio.create_task(app.run(settings, adapters, signals))
    async with asyncio.timeout(20):
        while adapters["web"].url.endswith(":0"):
            await asyncio.sleep(0.02)
    yield adapters["web"].url
    signals.stop.set()
    await asyncio.wait_for(task, 20)


@pytest.fixture
async def page(url):
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1000, "height": 640})
        page.complaints = []
        page.on("console", lambda m: m.type == "error" and page.complaints.append(m.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        await page.goto(url)
        yield page
        assert page.complaints == []
        await browser.close()


async def say(page, text):
    """Type a message; return the lengths that the answer had while it grew, and its text."""
    await page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => {
                const last = [...document.querySelectorAll(".message.bot .bubble")].at(-1);
                if (last) window.seen.push(last.textContent.length);
            }).observe(document.getElementById("messages"), {subtree: true, childList: true, characterData: true});
        }"""
    )
    before = await page.locator(".message.bot").count()
    await page.fill("#text", text)
    await page.keyboard.press("Enter")
    await page.locator(".message.bot").nth(before).wait_for(timeout=60_000)
    await page.locator(".message.bot .again").wait_for(timeout=60_000)
    answer = await page.locator(".message.bot .bubble").nth(before).text_content()
    return await page.evaluate("window.seen"), answer


@pytest.mark.parametrize("generation", [{}], ids=["own-process"])
async def test_three_turns_are_answered_and_streamed(page):
    streamed = []
    for text in ("안녕, 뭐 해?", "나 오늘 김치찌개 먹었어", "고마워!"):
        seen, answer = await say(page, text)
        assert any("가" <= letter <= "힣" for letter in answer)
        streamed.append(len({length for length in seen if length}))
    assert max(streamed) >= 2  # an answer was seen growing
    assert await page.locator(".message.mine").count() == 3
    await page.reload()
    await page.locator(".message.bot").nth(2).wait_for()
    assert await page.locator(".message").count() == 6


async def test_markup_is_shown_as_it_is(page):
    await say(page, "<img src=x onerror=alert(1)> **굵게**")
    assert (
        await page.locator(".message.mine .bubble").text_content()
        == "<img src=x onerror=alert(1)> **굵게**"
    )
    assert await page.locator("#messages img").count() == 0


async def test_speakers_rooms_language_regenerate_and_clear(page):
    await say(page, "안녕")
    await page.fill("#new-speaker", "지수✨")
    await page.keyboard.press("Enter")
    await say(page, "나도 안녕")
    who = await page.locator(".message:not(.bot) .who").all_text_contents()
    assert who == ["나", "지수✨"]
    again = await page.query_selector(".again")
    await again.click()
    await again.wait_for_element_state("hidden")  # the old answer goes before the new one comes
    await page.locator(".message.bot").nth(1).locator(".again").wait_for(timeout=60_000)
    assert await page.locator(".message.bot").count() == 2
    await page.fill("#new-room", "둘째 방")
    await page.keyboard.press("Enter")
    await page.locator(".empty").wait_for()
    assert await page.locator(".message").count() == 0
    await page.locator("#rooms button", has_text="첫 번째 방").click()
    await page.locator(".message.bot").nth(1).wait_for()
    await page.select_option("#language", "en")
    assert await page.locator("#send").text_content() == "Send"
    page.on("dialog", lambda dialog: dialog.accept())
    await page.click("#clear")
    await page.locator(".empty").wait_for()


async def test_only_when_called(page):
    posted = []
    page.on("request", lambda each: each.method == "POST" and posted.append(each))
    await page.check("#called")
    await page.fill("#text", "나는 떡볶이가 좋아")
    await page.keyboard.press("Enter")
    await page.locator(".message.mine").wait_for()
    await say(page, "코코야 안녕!")
    assert await page.locator(".message.bot").count() == 1
    await page.locator(".message.bot .again").click()
    await page.locator(".message.bot .again").wait_for(state="detached")
    await page.locator(".message.bot .again").wait_for(timeout=60_000)
    assert [each.post_data_json["direct"] for each in posted] == [False] * 3
    await page.uncheck("#called")
    await say(page, "나는 김밥도 좋아")  # as a message to nobody else, it is answered
    assert posted[-1].post_data_json["direct"] is True
    assert await page.locator(".message.bot").count() == 2


async def test_feedback_delete_and_report(page):
    await say(page, "안녕")
    await page.locator(".message.bot .good").click()
    await page.locator('.message.bot .good[aria-pressed="true"]').wait_for()
    await page.locator(".message.bot .bad").click()
    await page.locator('.message.bot .bad[aria-pressed="true"]').wait_for()
    assert await page.locator('.message.bot .good[aria-pressed="false"]').count() == 1
    assert "아쉬운 답" in await page.locator("#told").text_content()
    await page.locator(".message.bot .report").focus()
    await page.keyboard.press("Enter")
    await page.locator("#panel textarea").fill("같은 말만 해요 <b>")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.locator("#told", has_text="접수 번호 1").wait_for()
    assert not await page.locator("#panel").is_visible()
    await page.locator(".message.bot .delete").click()
    await page.locator(".message.bot").wait_for(state="detached")
    assert await page.locator(".message").count() == 1


async def test_settings_are_changed_and_reset_from_the_panel(page, monkeypatch):
    asked, body = [], client._body

    def watched(completion):
        asked.append(body(completion))
        return asked[-1]

    monkeypatch.setattr(client, "_body", watched)
    await page.focus("#settings")
    await page.keyboard.press("Enter")
    field = page.locator("[id='setting-sampling.max_new_tokens']")
    await field.fill("8")
    await page.keyboard.press("Enter")
    told = page.locator("#panel .told")
    await told.filter(has_text="sampling.max_new_tokens를 8로 바꿨어요").wait_for()
    about = page.locator("[id='setting-sampling.max_new_tokens-about']")
    assert (await about.text_content()).startswith("명령으로 바꿈 (이 채널)")
    await field.fill("많이")
    await page.keyboard.press("Enter")
    await told.filter(has_text="“많이”는 쓸 수 없어요").wait_for()
    assert "wrong" in await told.get_attribute("class")
    await page.select_option("#setting-buttons", "끄기")
    await page.locator("#setting-buttons").press("Tab")
    await page.keyboard.press("Enter")
    await told.filter(has_text="buttons를 끄기로 바꿨어요").wait_for()
    await page.get_by_label("buttons 되돌리기").click()
    await told.filter(has_text="buttons를 되돌렸어요").wait_for()
    await page.keyboard.press("Escape")
    assert not await page.locator("#panel").is_visible()
    _, answer = await say(page, "아무 말이나 길게 해 줘")
    assert len(answer) < 60
    # Most answers are short by themselves: what the service was asked for tells.
    assert {each["max_tokens"] for each in asked} == {8}


async def test_export_forget_and_opt_out(page):
    page.on("dialog", lambda dialog: dialog.accept())
    await say(page, "내 비밀은 떡볶이야")
    async with page.expect_download() as waiting:
        await page.click('[data-command="export"]')
    data = json.loads((await (await waiting.value).path()).read_text())
    assert [each["text"] for each in data["messages"]] == ["내 비밀은 떡볶이야"]
    await page.click('[data-command="forget"]')
    await page.locator(".empty").wait_for()
    await page.click('[data-command="opt_out"]')
    await page.locator("#told", has_text="저장하지도, 읽지도 않을게요").wait_for()
    await page.fill("#text", "이건 기억하지 마")
    await page.keyboard.press("Enter")
    await page.locator("#notice", has_text="‘기억허락’").wait_for()
    page.complaints.clear()  # the browser reports the refusal's status itself
    await page.click('[data-command="opt_in"]')
    await page.locator("#told", has_text="다시 만나서 반가워요").wait_for()
    await page.fill("#text", "")
    await say(page, "이제 기억해 줘")


async def test_help_and_status(page):
    await page.click("#help")
    await page.locator("#panel", has_text="안녕하세요, 저는 코코예요!").wait_for()
    assert "모델: " in await page.locator("#panel .body").text_content()
    await page.get_by_label("닫기").click()
    assert not await page.locator("#panel").is_visible()


async def test_a_phone(page):
    await page.set_viewport_size({"width": 360, "height": 640})
    await say(page, "안녕")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not await page.locator("#side").is_visible()
    await page.click("#menu")
    assert await page.locator("#side").is_visible()
    await page.select_option("#language", "en")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await page.click("#menu")
    await page.click("#settings")
    await page.locator("#panel .told", has_text="Everything is as built in.").wait_for()
    assert await page.evaluate("document.getElementById('panel').scrollWidth") <= 360


async def test_what_is_too_long_is_said_and_not_lost(page):
    text = "가" * 5000
    await page.fill("#text", text)
    await page.keyboard.press("Enter")
    await page.locator("#notice").wait_for(state="visible")
    assert "너무 길어요" in await page.locator("#notice").text_content()
    assert await page.input_value("#text") == text
    page.complaints.clear()  # the browser reports the refusal's status itself
