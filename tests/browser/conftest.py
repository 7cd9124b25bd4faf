"""A real browser for tests: headless Chromium whose console stays quiet and which stays off the network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
]
LOCAL = ("file:", "data:", "blob:", "about:")
WIDTHS = {"phone": 360, "desktop": 1280, "large": 2560}


class Open(Protocol):
    """Opens a page. ``allow`` is the one origin that may be asked for besides local files, as in
    ``http://127.0.0.1:8421``; errors on the console that contain a text of ``tolerate`` do not count."""

    def __call__(
        self,
        url: str | Path,
        *,
        width: int = WIDTHS["desktop"],
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
        still: bool = False,
        javascript: bool = True,
        allow: str = "",
        tolerate: tuple[str, ...] = (),
    ) -> Page: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, one for a module: Playwright keeps an event loop running in this thread for as long as it is
    there, and tests of other modules may want one of their own."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is on the path (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Open]:
    """Opens pages; the test fails if any of them logs an error or asks for what is not allowed."""
    wrong: list[str] = []
    contexts = []

    def open_page(
        url: str | Path,
        *,
        width: int = WIDTHS["desktop"],
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
        still: bool = False,
        javascript: bool = True,
        allow: str = "",
        tolerate: tuple[str, ...] = (),
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce" if still else "no-preference",
            java_script_enabled=javascript,
        )
        contexts.append(context)
        context.route("**/*", _guard(allow))
        tab = context.new_page()
        tab.on("request", _watch(allow, wrong))
        tab.on("console", _listen(tolerate, wrong))
        tab.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        tab.goto(url.resolve().as_uri() if isinstance(url, Path) else url)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """Runs axe-core in an opened page; the violations, one line an element, empty if there are none."""
    package = pytest.importorskip("axe_playwright_python.base", reason="pip install axe-playwright-python")
    script = Path(package.AXE_FILE_PATH).read_text(encoding="utf-8")

    def violations(tab: Page) -> list[str]:
        tab.evaluate(script)
        found: dict[str, Any] = tab.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{rule['id']}: {rule['help']}: {node['target']} {node.get('failureSummary', '')}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    return violations


def _allowed(url: str, origin: str) -> bool:
    return url.startswith((*LOCAL, origin.rstrip("/") + "/") if origin else LOCAL)


def _guard(origin: str) -> Callable[[Route], None]:
    """Lets nothing out: a request that is not allowed ends here."""
    return lambda route: route.continue_() if _allowed(route.request.url, origin) else route.abort()


def _watch(origin: str, wrong: list[str]) -> Callable[[Request], None]:
    """Notes what was asked for and is not allowed, whether the guard saw it or not."""

    def handle(request: Request) -> None:
        if not _allowed(request.url, origin):
            wrong.append(f"asked for {request.url}")

    return handle


def _listen(tolerate: tuple[str, ...], wrong: list[str]) -> Callable[[ConsoleMessage], None]:
    def handle(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(text in message.text for text in tolerate):
            wrong.append(f"console: {message.text}")

    return handle
