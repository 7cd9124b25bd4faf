"""A figure as a file of its own."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from ablate.report.document.blocks import Figure

_BLOCK = re.compile(r":where\(svg\.fig\) \{\n(.*?)\n\}", re.S)
_DARK = re.compile(r":where\(:root.*?\{\n(.*?)\n  \}", re.S)
_PROPERTY = re.compile(r"(--fig-[\w-]+): ([^;]+);")
_USE = re.compile(r"var\((--fig-[\w-]+)\)")


def stylesheet() -> str:
    """The looks of figures, as the file figure.css has them."""
    return files("ablate.report.figures").joinpath("figure.css").read_text(encoding="utf-8")


def standalone(figure: Figure) -> str:
    """The SVG file of a figure: light, and dark where the reader prefers that.

    Colours are put in, as many programs that place figures in papers know no custom properties. Links to rows
    of the page are left out, the numbers at marks are kept.
    """
    svg = re.sub(r'<a (?:tabindex="-1" )?href="[^"]*"', "<g", figure.svg).replace("</a>", "</g>")
    svg = svg.replace(' role="group"', ' role="img"', 1)
    head, body = svg.split("\n", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}\n<style>\n{_style()}</style>\n{body}\n'


@cache
def _style() -> str:
    """The rules with the colours of light, and those that have colours again with those of dark."""
    css = stylesheet()
    rules = re.findall(r"^svg\.fig.*\}$", css.split("/* rules */")[1], re.M)
    rules = [rule for rule in rules if " a:" not in rule]
    light = dict(_PROPERTY.findall(_found(_BLOCK, css)))
    dark = light | dict(_PROPERTY.findall(_found(_DARK, css)))
    coloured = [rule for rule in rules if "var(" in rule]
    lines = [_filled(rule, light) for rule in rules]
    lines += ["@media screen and (prefers-color-scheme: dark) {", *(_filled(r, dark) for r in coloured), "}"]
    return "".join(f"{line}\n" for line in lines)


def _found(pattern: re.Pattern[str], css: str) -> str:
    found = pattern.search(css)
    if found is None:
        raise ValueError("figure.css has not the blocks of properties that it should")
    return found[1]


def _filled(rule: str, properties: dict[str, str]) -> str:
    return _USE.sub(lambda use: properties[use[1]], rule)
