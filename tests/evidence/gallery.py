"""The README's pictures, taken anew in a real browser: the report of a real sweep, and MLflow's pages of it.

``make evidence NAME=gallery`` runs a small sweep first. Of a sweep that was run already, with its
MLflow store beside it: ``python -m tests.evidence.gallery --sweep runs/sparsehead``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from ablate.report.content import write_report
from ablate.tracking import catch_up, log_report
from tests.browser import mlflow_pages
from tests.browser.conftest import ARGS, LOCAL, PROGRAMS
from tests.evidence.checks import SPARSEHEAD, ablate
from tests.evidence.harness import GALLERY, ROOT, Finding, check
from tests.tracking.servers import free_port, serving_ui

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SMALL = ["--trials", "6", "--set", "base.optim.epochs=4", "--set", "base.measure.every=1",
         "--set", "search.scheduler={kind: asha, rungs: [1, 2], reduction: 2}"]  # fmt: skip
MOST = 300_000  # bytes of a picture
_COLOURS = 256
_PAUSE, _LOOKS = 700, 60  # milliseconds between two looks at a page that is still being drawn


@dataclass(frozen=True)
class Shot:
    """A picture of the report, scrolled to the element with the id ``place`` ("": its top), in a window of so
    many pixels, each drawn with ``scale`` by ``scale``."""

    name: str
    place: str = ""
    width: int = 1280
    height: int = 960
    scheme: Literal["light", "dark"] = "light"
    scale: float = 1


REPORT = (
    Shot("report"),
    Shot("report-verdicts", "verdicts"),
    Shot("report-dark", "searches", scheme="dark"),
    Shot("report-spectra", "spectra"),
    Shot("report-phone", width=390, height=844, scale=2),
    Shot("report-phone-dark", "spectra", width=390, height=844, scale=2, scheme="dark"),
)
_MLFLOW: dict[str, Callable[[Page, str, Path], Any]] = {
    "mlflow-experiments": lambda tab, site, _: mlflow_pages.welcome(tab, site),
    "mlflow-runs": mlflow_pages.table,
    "mlflow-confirm": lambda tab, site, folder: mlflow_pages.table(tab, site, folder, "confirm"),
    "mlflow-parallel": mlflow_pages.charts,
    "mlflow-compare": mlflow_pages.compare,
    "mlflow-models": mlflow_pages.models,
    "mlflow-artifact": lambda tab, site, folder: mlflow_pages.artifact(
        tab, site, folder, "c0000", "spectrum.png"
    ),
    "mlflow-report": mlflow_pages.report,
}  # the first one closes what MLflow greets a new visitor with


@check("gallery")
def pictures(scratch: Path) -> Finding:
    ablate("sweep", SPARSEHEAD, "--runs", scratch, *SMALL)
    return take(scratch / "sparsehead")


def take(folder: Path) -> Finding:
    """All pictures of the sweep in ``folder``, whose report is written anew, into docs/gallery."""
    page = write_report(folder)
    catch_up(folder)  # if its store is new, the runs come before the report
    print(log_report(folder), flush=True)
    GALLERY.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        wrong = [line for shot in REPORT for line in of_report(browser, page, shot)]
        of_mlflow(browser, folder)
    sizes = {file.name: file.stat().st_size for file in sorted(GALLERY.glob("*.png"))}
    figures = {"pictures": sizes, "page_bytes": page.stat().st_size, "errors_and_requests": wrong}
    shown = "\n\n".join(f"![{name}](../{(GALLERY / name).relative_to(ROOT)})" for name in sizes)
    return Finding(
        "The README's pictures are of a real sweep in a real browser; the report opens from disk at phone "
        "and desktop width, in light and dark, without a network request or an error on the console.",
        not wrong and all(size <= MOST for size in sizes.values()),
        figures,
        shown,
    )


@contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise SystemExit(
            f"no browser: none of {', '.join(PROGRAMS)} is on the path; tests/setup.sh installs one"
        )
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=ARGS)
        yield browser
        browser.close()


def of_report(browser: Browser, page: Path, shot: Shot) -> list[str]:
    """Takes a picture of the report; returns errors on its console, and what it asked the network for."""
    wrong: list[str] = []
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=shot.scheme,
        reduced_motion="reduce",
        device_scale_factor=shot.scale,
    )
    tab = context.new_page()
    tab.on("console", lambda m: wrong.append(f"{shot.name}: {m.text}") if m.type == "error" else None)
    tab.on("pageerror", lambda error: wrong.append(f"{shot.name}: {error}"))
    tab.on("request", lambda r: None if r.url.startswith(LOCAL) else wrong.append(f"{shot.name}: {r.url}"))
    tab.goto(page.resolve().as_uri())
    if shot.place:
        tab.evaluate("(id) => document.getElementById(id).scrollIntoView()", shot.place)
    keep(tab, shot.name)
    context.close()
    return wrong


def of_mlflow(browser: Browser, folder: Path) -> None:
    """Takes the pictures of MLflow's pages, from `ablate ui` on the store beside the sweep."""
    with serving_ui(folder.parent, free_port()) as site:
        tab = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        for name, opened in _MLFLOW.items():
            opened(tab, site, folder)
            keep(tab, name)
        tab.close()


def keep(tab: Page, name: str) -> None:
    """The window once it stands still, as docs/gallery/<name>.png with at most 256 colours."""
    picture = Image.open(BytesIO(_still(tab))).convert("RGB")
    few = picture.quantize(_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(GALLERY / f"{name}.png", optimize=True)


def _still(tab: Page) -> bytes:
    """A screenshot that is equal to the one before. Raises RuntimeError if the page never stops moving."""
    before = b""
    for _ in range(_LOOKS):
        now = tab.screenshot(animations="disabled", caret="hide")
        if now == before:
            return now
        before = now
        tab.wait_for_timeout(_PAUSE)
    raise RuntimeError(f"{tab.url}: never stood still")


def main() -> int:
    parser = argparse.ArgumentParser(description="Takes the README's pictures of a sweep that was run.")
    parser.add_argument("--sweep", type=Path, required=True, metavar="FOLDER")
    finding = take(parser.parse_args().sweep)
    print(finding.figures)
    return 0 if finding.held else 1


if __name__ == "__main__":
    sys.exit(main())
