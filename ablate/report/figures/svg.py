"""SVG as text: elements, texts, and the whole figure with its name and description for who cannot see it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

from ablate.report.document.blocks import Figure, run_id
from ablate.report.document.spans import printable

WIDTH = 720.0  # units; text is 15 of them
NARROW = 440.0
MOST_TAB_STOPS = 60  # more links than these are left to the table of runs, which reaches the same runs


def num(value: float) -> str:
    """A coordinate with one decimal at most, which is finer than a screen shows."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def exact(values: Sequence[float]) -> str:
    """Numbers as they were measured, with spaces between, so that drawings can be checked against data."""
    return " ".join(repr(float(v)) for v in values)


def plain(text: str) -> str:
    """``text`` with the characters that XML allows, on one line, escaped for content and attributes."""
    return escape(printable(re.sub(r"\s", " ", text)))


def element(tag: str, content: str = "", **attributes: str) -> str:
    """An element with escaped attributes and ``content`` as it is; ``class_`` and ``data_x`` are "class" and
    "data-x", and empty attributes are left out."""
    named = (
        f' {key.rstrip("_").replace("_", "-")}="{plain(value)}"' for key, value in attributes.items() if value
    )
    start = f"<{tag}{''.join(named)}"
    return f"{start}>{content}</{tag}>" if content else f"{start}/>"


def text(x: float, y: float, words: str, kind: str = "", transform: str = "") -> str:
    """A text whose baseline is at ``y``; ``kind`` are its classes."""
    return element("text", plain(words), class_=kind, x=num(x), y=num(y), transform=transform)


def path(d: str, kind: str, **attributes: str) -> str:
    return element("path", class_=kind, d=d, **attributes)


def rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return element("rect", class_=kind, x=num(x), y=num(y), width=num(width), height=num(height))


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """The ``d`` of a path through ``points``, by steps, which are shorter to write than places."""
    places = [(round(x, 1), round(y, 1)) for x, y in points]
    (x, y), *_ = places
    steps = (f"{num(b[0] - a[0])} {num(b[1] - a[1])}" for a, b in pairwise(places))
    return f"M{num(x)} {num(y)}" + "".join(f"l{step}".replace(" -", "-") for step in steps)


def titled(title: str, content: str, *, trial: str = "", **attributes: str) -> str:
    """``content`` with a ``title`` that hovering shows, and a link to ``trial``'s row unless it is ""."""
    inside = element("title", plain(title)) + content
    if not trial:
        return element("g", inside, **attributes)
    return element("a", inside, href=f"#{run_id(trial)}", data_trial=trial, **attributes)


def figure(
    id: str,
    title: str,
    description: str,
    caption: str,
    *,
    width: float,
    height: float,
    parts: Iterable[str],
) -> Figure:
    """The figure with ``parts`` drawn on ``width`` times ``height`` units."""
    body = "\n".join(part for part in parts if part)
    links = body.count("<a href=")  # texts are escaped: nothing else reads so
    if links > MOST_TAB_STOPS:
        body = body.replace("<a href=", '<a tabindex="-1" href=')
    fit = "narrow" if width <= NARROW else "wide" if width > WIDTH else ""
    svg = element(
        "svg",
        f"\n{_named('title', id, title)}{_named('desc', id, description)}\n{body}\n",
        xmlns="http://www.w3.org/2000/svg",
        class_=f"fig {fit}".rstrip(),
        viewBox=f"0 0 {num(width)} {num(height)}",
        width=num(width),
        height=num(height),
        role="group" if links else "img",
        aria_labelledby=f"{id}-title",
        aria_describedby=f"{id}-desc" if description else "",
    )
    return Figure(id, title, description, caption, svg)


def _named(tag: str, id: str, words: str) -> str:
    return element(tag, plain(words), id=f"{id}-{tag}") if words else ""


def page_width(needed: float) -> float:
    """The width of a figure whose content takes ``needed`` units: half a page, a page, or more than that."""
    return next((usual for usual in (NARROW, WIDTH) if needed <= usual), needed)


def finite(values: Iterable[float], what: str) -> None:
    """ValueError if one of ``values`` is not a number that can be drawn."""
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"{what}: {value} cannot be drawn; say in words why it is missing")
