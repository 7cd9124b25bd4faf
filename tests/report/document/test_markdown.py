"""The Markdown, read back by a Markdown reader: every text is what it was, every block what it should be."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ablate.report.document.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Folded,
    Item,
    Paragraph,
    Section,
    table,
)
from ablate.report.document.markdown import markdown
from tests.report.document.made_document import HOSTILE, document, figure

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# One line, without marks of code: what happens to those is in the tests of spans.
WORDS = st.text(st.sampled_from("ab1_*[]()<>|\\~#+-=.!:&;$ x'\"")).filter(lambda text: text.strip() != "")


class Texts(HTMLParser):
    """The text of each element of some kinds, in order."""

    def __init__(self, *kinds: str) -> None:
        super().__init__()
        self.kinds, self.depth, self.found = kinds, 0, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in self.kinds:
            self.depth += 1
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag in self.kinds

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.found[-1] += data


def texts(source: str, *kinds: str) -> list[str]:
    reader = Texts(*kinds)
    reader.feed(READER.render(source))
    reader.close()
    return reader.found


def of(*blocks: Block) -> str:
    return markdown(Document("title", "Which?", (), (Section("s", "Section", blocks),), ()))


def flat(text: str) -> str:
    return " ".join(text.split())


@given(WORDS)
@example(HOSTILE)
@example("1. one")
@example("- one")
@example("[a]: b")
@example("a | b")
@example("# a #")
@example("&lt;")
@example("===")
def test_every_text_is_read_as_it_was_written(text: str) -> None:
    source = markdown(Document("t", text, (Paragraph(text),), (Section("s", text, ()),), ((text, "x"),)))
    assert texts(source, "h1") == texts(source, "h2") == texts(source, "p") == [flat(text)]
    assert texts(source, "li") == [f"{flat(text)}: x"]


@given(WORDS, WORDS, WORDS)
@example("a\\|b", "a|b", "|")
@example("\\]", "[", "a](b)")
def test_cells_hold_any_text(a: str, b: str, c: str) -> None:
    source = of(table("t", "", [a, b], [[b, c], [c, Cell(a, "https://h/?a=(1|2)")]]))
    assert [flat(t) for t in texts(source, "th", "td")] == [flat(t) for t in (a, b, b, c, c, a)]
    assert 'href="https://h/?a=%281%7C2%29"' in READER.render(source)


@given(st.text(st.sampled_from("ab|\\<*_& "), min_size=1).map(str.strip).filter(bool))
def test_code_holds_any_text(text: str) -> None:
    source = of(Paragraph(f"see `{text}`"), table("t", "", ["a", f"`{text}`"], [[f"x `{text}`", "y"]]))
    assert [flat(t) for t in texts(source, "code")] == [flat(text)] * 3


def test_pipes_are_escaped() -> None:
    assert "| a\\|b | <code>c\\|d</code> |" in of(table("t", "", ["x", "y"], [["a|b", "`c|d`"]]))


@given(st.text(st.sampled_from("a`~\n |#")).filter(lambda text: text.strip() != ""))
def test_code_blocks_hold_any_text(text: str) -> None:
    assert texts(of(Code(text, "yaml")), "code") == [text.rstrip() + "\n"]


def test_lists_keep_their_notes() -> None:
    source = of(Bullets((Item("1. a", ("- b", "c")), Item("d"))))
    html = READER.render(source).replace("\n", "")
    assert "<ul><li>1. a<ul><li>- b</li><li>c</li></ul></li><li>d</li></ul>" in html


def test_figures_are_pictures_in_their_folder() -> None:
    html = READER.render(of(figure("budget", "Best [so far]")))
    assert '<img src="figures/budget.svg" alt="Best [so far]"' in html
    assert 'src="elsewhere/budget.svg"' in READER.render(markdown(document(), "elsewhere"))


def test_folded_blocks_are_folded_and_still_read_as_markdown() -> None:
    html = READER.render(of(Folded("More & `code`", (Paragraph("a *b*"), table("t", "", ["x"], [["1"]])))))
    assert "<summary>More &amp; <code>code</code></summary>" in html
    assert re.search(r"<details>.*<p>a \*b\*</p>.*<table>.*</details>", html, re.DOTALL)


def test_links_within_the_page_are_left_out() -> None:
    assert "#run-" not in markdown(document())


def test_columns_of_numbers_are_set_to_the_right() -> None:
    assert "| --- | ---: |" in of(table("t", "", ["arm", "score"], [["mlp", "0.5"]]))


def test_equal_documents_give_equal_texts() -> None:
    assert markdown(document()) == markdown(document())


@pytest.mark.parametrize("heading", ["h1", "h2"])
def test_the_question_comes_first_then_the_sections(heading: str) -> None:
    made = document()
    expected = {"h1": [made.question], "h2": [section.title for section in made.sections]}
    assert texts(markdown(made), heading) == [text.replace("`", "") for text in expected[heading]]
