"""The page as text: what it promises before a browser sees it (how it behaves there: tests/browser)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.document.blocks import Cell, Document, Paragraph, Section, Table, table
from ablate.report.document.html import page
from tests.report.document.made_document import HOSTILE, document, figure

VOID = {"meta", "link"}


class Reader(HTMLParser):
    """Elements that are open, all start tags, and the texts of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def of(*blocks: Paragraph | Table) -> Document:
    return Document("title", "Which?", (), (Section("s", "Section", blocks),), ())


def test_equal_documents_give_equal_bytes_in_every_process() -> None:
    code = (
        "import hashlib; from ablate.report.document.html import page; "
        "from tests.report.document.made_document import document; "
        "print(hashlib.sha256(page(document()).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {hashlib.sha256(page(document()).encode()).hexdigest().encode() + b"\n"}


@pytest.mark.parametrize("live", [False, True])
def test_the_policy_allows_what_is_inlined_by_its_digest_and_nothing_else(live: bool) -> None:
    text = page(document(), live=live)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for kind, element in (("style", "style"), ("script", "script")):
        (inlined,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode()
        assert rules.pop(f"{kind}-src") == f"'sha256-{digest}'"
    assert rules.pop("connect-src", None) == ("'self'" if live else None)
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert 'style="' not in text  # which the policy would refuse


def test_nothing_is_loaded_from_anywhere() -> None:
    for tag, attributes in read(page(document())).tags:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attributes
        if tag == "link":
            assert attributes == {"rel": "icon", "href": "data:,"}
        if (attributes.get("href") or "").startswith("http"):
            assert (tag, attributes["rel"]) == ("a", "noreferrer")


ANY = st.text(st.characters())


@given(ANY, ANY, ANY)
def test_texts_are_shown_and_never_read_as_markup(a: str, b: str, c: str) -> None:
    text = page(of(Paragraph(a), table("t", b, ["head"], [[Cell(c, "s")]])))
    reader = read(text.encode().decode())
    expected = read(page(of(Paragraph("a"), table("t", "b", ["head"], [[Cell("c", "s")]]))))
    shape = [tag for tag, _ in reader.tags if tag != "code"]
    assert shape == [tag for tag, _ in expected.tags]


def test_hostile_texts_are_shown_as_they_are() -> None:
    hostile = HOSTILE.replace(" -0.5", "")
    made = Document(
        hostile, hostile, (), (Section("s", hostile, (figure("f", "title"),)),), ((hostile, hostile),)
    )
    texts = read(page(made)).texts
    assert (
        sum(text == hostile for text in texts) == 7
    )  # title, name, heading, contents, section, and the fact
    assert page(made).count("<script") == 1


def test_the_policy_comes_before_anything_that_it_rules() -> None:
    tags = [tag for tag, _ in read(page(document())).tags]
    assert tags[:4] == ["html", "head", "meta", "meta"]
    assert tags.index("style") > 4


def test_a_link_never_runs_anything() -> None:
    places = ["javascript:alert(1)", 'http://h/?a=1&b"onclick="alert(1)', '"onclick="alert(1)']
    reader = read(page(of(table("t", "", ["a"], [[Cell("x", place)] for place in places]))))
    links = [attributes for tag, attributes in reader.tags if tag == "a"][-3:]
    assert [link["href"] for link in links] == [f"#{places[0]}", places[1], f"#{places[2]}"]
    assert all(set(link) <= {"href", "rel"} for link in links)


def test_rows_of_runs_have_places_and_other_rows_have_none() -> None:
    made = of(
        table("runs-search-mlp", "", ["trial"], [["t0000"], ["t0001"]]),
        table("other", "", ["trial"], [["t0002"]]),
    )
    ids = [attributes.get("id") for tag, attributes in read(page(made)).tags if tag == "tr"]
    assert ids == [None, "run-t0000", "run-t0001", None, None]


def test_equal_ids_are_refused() -> None:
    made = of(table("runs-a", "", ["trial"], [["t0000"]]), table("runs-b", "", ["trial"], [["t0000"]]))
    with pytest.raises(ValueError, match="the id 'run-t0000'"):
        page(made)


def test_numbers_stand_under_each_other() -> None:
    reader = read(page(of(table("t", "", ["arm", "score"], [["mlp", "-0.5"], ["sparse", "-"]]))))
    cells = [(tag, attributes.get("class")) for tag, attributes in reader.tags if tag in {"th", "td"}]
    assert cells == [("th", None), ("th", "n"), ("th", None), ("td", "n"), ("th", None), ("td", "n")]
    assert reader.texts.count("\N{MINUS SIGN}0.5") == 1
    assert reader.texts.count("\N{EN DASH}") == 1


def test_only_a_live_page_asks_for_itself_again() -> None:
    assert "fetch(" not in page(document())
    assert "data-live" not in page(document())
    assert 'data-live="2000"' in page(document(), live=True)


def test_a_document_without_anything_is_a_page() -> None:
    reader = read(page(replace(of(), sections=())))
    assert [tag for tag, _ in reader.tags].count("section") == 1


def test_500_runs_are_a_small_page() -> None:
    assert len(page(document(runs=500)).encode()) < 1_000_000
