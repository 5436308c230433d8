"""The operator's page in a real browser."""

import shutil
import socket

import pytest

from tests.fakes.daemon import daemon
from tests.integration.test_operations import listening, pipeline, text  # noqa: F401
from tests.unit.ops.test_redact import root  # noqa: F401  # a fixture

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium"),
]


async def test_it_says_what_is_wrong_in_both_languages(tmp_path, pipeline):  # noqa: F811
    from playwright.async_api import async_playwright

    with socket.create_server(("127.0.0.1", 0)) as silent:  # a service that never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with daemon(tmp_path, text(tmp_path, url), pipeline) as under_test:
            address = await listening(pipeline)
            await under_test.reloaded('{"stranger": "<b>1</b>"}')
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
                )
                page = await browser.new_page(locale="ko-KR")
                complaints = []
                page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
                page.on("pageerror", lambda error: complaints.append(str(error)))
                await page.goto(address)
                await page.wait_for_selector("#parts tr")
                assert await page.inner_text("#summary") == "살펴봐야 할 곳이 있어요."
                rows = await page.locator("#parts tr").all_inner_texts()
                assert [row.split("\t")[:2] for row in rows] == [
                    ["데이터베이스", "정상"],
                    ["모델", "연결할 수 없음"],
                    ["어댑터 web", "정상"],
                ]
                assert "이전 설정을 그대로 써요" in await page.inner_text("#reload-title")
                await page.click("#language")
                assert await page.inner_text("#summary") == "Something needs a look."
                assert "stranger" in await page.inner_text("#faults")
                assert await page.get_attribute("html", "lang") == "en"
                assert complaints == []
                await browser.close()
