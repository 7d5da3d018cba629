"""The page of `edgecat serve`, in a real browser."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, features
from real import CHELSEA, COFFEE

if importlib.util.find_spec("playwright") is None:
    pytest.skip("needs edgecat[dev]", allow_module_level=True)

from playwright.sync_api import Browser, Page, expect, sync_playwright
from vision_server import KEY, Running

from edgecat.server.app import make_app
from edgecat.server.page import Page as Served
from edgecat.server.settings import Settings

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
WIDE, PHONE = {"width": 1280, "height": 844}, {"width": 390, "height": 844}
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(make_app(Settings(threads=2))) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With a camera that sees a cat."""
    frames = tmp_path_factory.mktemp("camera") / "cat.mjpeg"
    file = io.BytesIO()
    Image.open(CHELSEA).convert("RGB").resize((640, 480)).save(file, "JPEG", quality=95)
    frames.write_bytes(file.getvalue() * 2)
    options = [
        "--no-sandbox",
        "--no-first-run",
        *(
            f"--disable-{what}"
            for what in ("gpu", "quic", "background-networking", "component-update", "sync")
        ),
    ]
    camera = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={frames}",
    ]
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*options, *camera])
        yield opened
        opened.close()


class Visit:
    """The page, open; what it complains of and asks for is kept."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": WIDE, **options})
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on(
            "filechooser", lambda _: None
        )  # from here on, so that no key comes before Playwright listens
        self.page.goto(address)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()

    def expect_answer(self, answer: str) -> None:
        expect(self.page.get_by_role("status")).to_have_text(answer)


def test_the_policy_lets_nothing_in_but_the_page_itself() -> None:
    served = Served()
    policy = served.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    for tag in ("script", "style"):
        [source] = re.findall(f"<{tag}>(.*?)</{tag}>", served.content.decode(), re.DOTALL)
        assert (
            f"{tag}-src "
            f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
            in policy
        )
    assert set(re.findall(r"https?://[^'\" ]+", served.content.decode())) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not an address
    assert not re.search(r"\son\w+=|style=|javascript:|innerHTML|eval\(", served.content.decode())


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_photo_is_answered(server: Running, browser: Browser, viewport: Any, scheme: Any) -> None:
    with Visit(
        browser,
        server.address,
        viewport=viewport,
        color_scheme=scheme,
        is_mobile=viewport is PHONE,
        has_touch=viewport is PHONE,
    ) as visit:
        page = visit.page
        page.set_input_files("#file", CHELSEA)
        visit.expect_answer("Cat")
        bars = page.get_by_role("list", name="Scores").get_by_role("listitem")
        expect(bars).to_have_count(3)
        expect(bars.first).to_have_text(re.compile(r"cat\s*99\.6 %"))
        widths = [
            bar.evaluate("bar => parseFloat(getComputedStyle(bar, '::before').width)")
            for bar in page.locator("#bars i").all()
        ]
        assert widths == sorted(widths, reverse=True)
        assert widths[0] > 0
        assert widths[0] > 20 * widths[2]  # whose score rounds to 0
        expect(page.locator("#time")).to_have_text(
            re.compile(
                r"^[\d.]+ ms: photo [\d.]+, model [\d.]+; \d+ ms with the way there and back$"
            )
        )
        page.set_input_files("#file", COFFEE)
        visit.expect_answer("Neither")
        page.locator("summary").click()
        expect(page.locator("#card")).to_contain_text("efficientnet_lite0")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 384) == (scheme == "light")
        assert not visit.complaints
        assert all(url.startswith((server.address, "data:", "blob:")) for url in visit.asked)


@needs_browser
def test_a_photo_is_taken_on_a_phone(server: Running, browser: Browser) -> None:
    with (
        Visit(browser, server.address, viewport=PHONE, is_mobile=True, has_touch=True) as visit,
        visit.page.expect_file_chooser() as chosen,
    ):
        visit.page.get_by_text("Take a photo").tap()
        chosen.value.set_files(CHELSEA)
        visit.expect_answer("Cat")


@needs_browser
def test_a_photo_is_dropped_and_one_is_pasted(server: Running, browser: Browser) -> None:
    handing = """([content, kind]) => {
        const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
        const handed = new DataTransfer();
        handed.items.add(new File([bytes], "photo.jpg", {type: "image/jpeg"}));
        document.dispatchEvent(
          kind === "drop" ? new DragEvent("drop", {dataTransfer: handed})
            : new ClipboardEvent("paste", {clipboardData: handed}));
    }"""
    with Visit(browser, server.address) as visit:
        visit.page.evaluate(handing, [base64.b64encode(CHELSEA.read_bytes()).decode(), "drop"])
        visit.expect_answer("Cat")
        visit.page.evaluate(handing, [base64.b64encode(COFFEE.read_bytes()).decode(), "paste"])
        visit.expect_answer("Neither")
        visit.page.evaluate(
            "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: new "
            "DataTransfer()}))"
        )
        expect(visit.page.get_by_role("alert")).to_have_text("No photo was on the clipboard.")


@needs_browser
def test_the_camera_live_by_keyboard_alone(server: Running, browser: Browser) -> None:
    with Visit(browser, server.address) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        with page.expect_file_chooser() as chosen:
            page.keyboard.press("Enter")
        chosen.value.set_files(COFFEE)
        visit.expect_answer("Neither")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Watch the camera")).to_be_focused()
        page.keyboard.press("Enter")
        visit.expect_answer("Cat")
        watching = len([url for url in visit.asked if url.endswith("/v1/classify")])
        page.wait_for_timeout(500)
        assert len([url for url in visit.asked if url.endswith("/v1/classify")]) > watching
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Watch the camera")).to_be_visible()
        assert page.evaluate("document.getElementById('video').srcObject === null")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Keep this picture")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Keep this picture")).to_be_focused()
        page.wait_for_timeout(300)
        page.keyboard.press("Enter")
        expect(page.locator("#preview")).to_be_visible()
        visit.expect_answer("Cat")
        page.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#card")).to_be_visible()
        assert not visit.complaints


@needs_browser
def test_what_is_no_photo(server: Running, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    with Visit(browser, server.address) as visit:
        visit.page.set_input_files("#file", tmp_path / "text.jpg")
        expect(visit.page.get_by_role("alert")).to_have_text(
            "Not a photo (expected JPEG, PNG, WebP, BMP, GIF or TIFF)"
        )
        visit.expect_answer("No answer")
        expect(visit.page.get_by_text("Drop a photo here")).to_be_visible()
        visit.page.set_input_files("#file", CHELSEA)
        visit.expect_answer("Cat")
        expect(visit.page.get_by_role("alert")).to_be_hidden()


@needs_browser
def test_what_the_browser_reads_and_the_server_does_not(
    server: Running, browser: Browser, tmp_path: Path
) -> None:
    if not features.check("avif"):
        pytest.skip("needs a Pillow that writes AVIF")
    avif = tmp_path / "cat.avif"
    Image.open(CHELSEA).convert("RGB").save(avif)
    with Visit(browser, server.address) as visit:
        visit.page.set_input_files("#file", avif)
        visit.expect_answer("Cat")


@needs_browser
def test_a_server_that_asks_for_its_key(browser: Browser) -> None:
    with Running(make_app(Settings(key=KEY))) as guarded, Visit(browser, guarded.address) as visit:
        page = visit.page
        field = page.get_by_label("This server asks for its API key")
        expect(field).to_be_focused()
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text(
            "API key not valid. Please pass a valid API key."
        )
        field.fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_have_text("catdog")
        expect(field).to_be_hidden()
        page.set_input_files("#file", CHELSEA)
        visit.expect_answer("Cat")
        assert not any(KEY in url for url in visit.asked)
