"""The LaTeX tables, read back by a small reader of what they are made of; compiled where there is a LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ablate.report.document.blocks import Document, Section, Table, table
from ablate.report.document.latex import escaped, tables
from tests.report.document.made_document import HOSTILE, document

TOKEN = re.compile(r"\\char34\{\}|\\[A-Za-z]+\{\}|\\[{}$&#%_]|\$[^$]+\$|\{\}|[^\\{}$&#%_^~<>|\"`]")
READ = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\char34{}": '"',
    r"\textasciigrave{}": "`", "{}": "", "$-$": "-", r"\allowbreak{}": "",
}  # fmt: skip
ASCII = st.text(st.sampled_from([chr(code) for code in range(0x20, 0x7F) if chr(code) != "`"]))


def read(latex: str) -> str:
    """What LaTeX would set, of texts without code."""
    assert TOKEN.sub("", latex) == "", "a character that LaTeX would take for a command"
    return "".join(READ.get(token, token.removeprefix("\\")) for token in TOKEN.findall(latex))


def of(*made: Table) -> Document:
    return Document("title", "Which?", (), (Section("s", "Section", made),), ())


MANY = of(*(table(f"t{i}", "Many.", ["a", "b"], [["1", "2"]]) for i in range(150)))


def tabulars(text: str) -> list[tuple[list[str], list[list[str]]]]:
    """Of each tabular and longtable its columns and its rows."""
    found = []
    for _, columns, body in re.findall(
        r"\\begin\{(tabular|longtable)\}\{([^\n]*)\}\n(.*?)\\end\{\1\}", text, re.DOTALL
    ):
        body = re.sub(r"\\caption.*?\\\\\n|\\(?:top|mid|bottom)rule\n|\\end\w*(?:head|foot)\n", "", body)
        rows = [re.split(r" (?<!\\)& ", row) for row in body.split(" \\\\\n") if row]
        kinds = re.sub(r">\{.*?\}p\{.*?\}", "p", columns)
        found.append((list(kinds), rows))
    return found


@given(ASCII)
@example(HOSTILE)
@example("--set a,,b ''x'' <<y>>")
def test_every_character_is_set_as_it_was_written(text: str) -> None:
    assert read(escaped(text)) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("-0.0718", "$-$0.0718"),
        ("[-0.1172, +0.0264]", "[$-$0.1172, +0.0264]"),
        ("sparse - mlp", "sparse - mlp"),
        ("`head.depth_2`", r"\texttt{head.depth\_2}"),
        ("`--trials -3`", r"\texttt{-{}-trials -3}"),
        ("ε ≤ 2 \N{MULTIPLICATION SIGN} σ²", r"$\epsilon$ $\le$ 2 $\times$ $\sigma$$^{2}$"),
        ("Müller", "Müller"),
        ("中", "[U+4E2D]"),
        ("0123456789abcdef" * 2, r"0123456789ab\allowbreak{}cdef01234567\allowbreak{}89abcdef"),
        ("", ""),
    ],
)
def test_numbers_code_and_other_characters(text: str, latex: str) -> None:
    assert escaped(text) == latex


@given(st.text(max_size=8))
def test_nothing_is_left_that_latex_cannot_read(text: str) -> None:
    latex = escaped(text)
    assert all(" " <= c <= "~" or "\u00c0" <= c <= "\u00ff" for c in latex)
    bare = re.sub(r"\\[{}$\\]", "", latex)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0


def test_every_table_is_there_with_its_caption_label_and_rules() -> None:
    text = tables(document())
    for label in ("verdicts", "layers", "folded", "needed", "chosen", "runs-search-mlp"):
        assert text.count(rf"\label{{tab:{label}}}") == 1
    assert re.search(r"^% .*booktabs", text, re.MULTILINE)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{tabular}")
    opened = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    stack: list[str] = []
    for what, name in opened:
        if what == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []


def test_rows_have_as_many_cells_as_there_are_columns() -> None:
    found = tabulars(tables(document(runs=400)))
    assert len(found) > 8
    for columns, rows in found:
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(columns)}


def test_numbers_are_set_to_the_right_and_long_texts_in_lines() -> None:
    rows = [["mlp", "0.5", "word " * 20], ["sparse", "-", "short"]]
    ((columns, cells),) = tabulars(tables(of(table("t", "", ["arm", "score", "why"], rows))))
    assert columns[:2] == ["l", "r"]
    assert columns[2] == "p"
    assert cells[2][1] == r"\textendash{}"


def test_a_wide_table_is_several_each_with_the_first_column() -> None:
    head = ["arm", *(f"a long column {i}" for i in range(12))]
    text = tables(of(table("wide", "Wide.", head, [["mlp", *map(str, range(12))]])))
    parts = tabulars(text)
    assert len(parts) == 3
    assert [rows[0][0] for _, rows in parts] == ["arm"] * 3
    assert [cell for _, rows in parts for cell in rows[1][1:]] == list(map(str, range(12)))
    assert "Wide. (1 of 3)" in text
    assert re.findall(r"label\{(.*?)\}", text) == ["tab:wide", "tab:wide-2", "tab:wide-3"]


def test_a_long_table_goes_over_pages_with_its_head_on_each() -> None:
    text = tables(of(table("long", "Long.", ["trial", "score"], [[f"t{i}", "0.5"] for i in range(100)])))
    assert r"\begin{longtable}{lr}" in text
    assert r"\begin{tabular}" not in text
    assert text.count("trial & score") == 2
    assert (
        text.index(r"\endfirsthead") < text.index(r"\endhead") < text.index(r"\endfoot") < text.index("t0 &")
    )


def test_many_tables_do_not_all_wait_for_a_page() -> None:
    stretches = tables(MANY).split(r"\clearpage")
    assert len(stretches) == 15
    assert all(stretch.count(r"\end{table}") == 10 for stretch in stretches)


def test_a_bracket_at_the_start_of_a_row_is_no_option_of_what_is_before() -> None:
    text = tables(of(table("t", "", ["[a]", "b"], [["[0, 1]", "x"], ["*", "y"]])))
    assert re.findall(r"^[\[*].*", text, re.MULTILINE) == []
    assert "{}[0, 1] & x" in text


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex (apt-get install texlive-latex-recommended)"
)
@pytest.mark.parametrize(
    "made", [document(), document(runs=400), MANY], ids=["usual", "long tables", "many tables"]
)
def test_latex_compiles_it(tmp_path: Path, made: Document) -> None:
    preamble = "\n".join(
        line.removeprefix("% ") for line in tables(document()).splitlines() if "usepackage" in line
    )
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n{tables(made)}\\end{{document}}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "Overfull" not in ran.stdout
