"""A document that nobody measured, with every kind of block in it, and texts that try to break out."""

from __future__ import annotations

import random

from ablate.report.document.blocks import (
    Bullets,
    Cell,
    Code,
    Document,
    Figure,
    Folded,
    Item,
    Paragraph,
    Section,
    Table,
    group_id,
    run_id,
    table,
)

HOSTILE = "<script>alert('x & \"y\"')</script> | a_b*c* $m$ \\n [d](e) #f ~g~ ^h {i} 50% -0.5"
QUESTION = (
    "Does SparseHead's penalty, or DirectCLR's fixed subvector, give a better linear probe of `h` than the "
    "plain MLP head of SimCLR, each tuned alike?"
)
ARMS = ("mlp", "sparse", "directclr")


def document(runs: int = 40) -> Document:
    """``runs`` runs, spread over three arms and two stages."""
    return Document(
        title="sparsehead",
        question=QUESTION,
        answer=(
            Paragraph("These two configurations differ: sparse is worse, by -0.0718 in `probe.h.test`."),
            Paragraph("Whether directclr differs from mlp is not established."),
            _verdicts(),
        ),
        sections=(_search(), _why(), _unsettled(), _runs(runs)),
        facts=(
            ("Sweep", "sparsehead"),
            ("Judged by", "probe.h.test, larger is better"),
            ("Images", "scattered-digits, 597 in the test split"),
            ("Seeds", "8 of 12 (looks after 8 and 12)"),
            ("Declared", "9e6e045f7a216be3"),
            ("Code", "6432be2"),
        ),
    )  # fmt: skip


def drawing(id: str, title: str, look: str = "") -> str:
    """A chart with one curve and two runs on it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig {look}" viewBox="0 0 720 300" role="group" '
        f'aria-labelledby="{id}-t" aria-describedby="{id}-d">'
        f'<title id="{id}-t">{title}</title><desc id="{id}-d">It rises.</desc>'
        '<path class="grid" d="M60 40H700M60 140H700M60 240H700"/>'
        '<path class="line c0" d="M60 240L300 150L700 60"/>'
        '<a href="#run-t0001" data-trial="t0001" data-x="0.1" data-y="0.4"><title>t0001</title>'
        '<circle class="mark c0" cx="300" cy="150" r="6"/></a>'
        '<text class="tick" x="60" y="260">0</text><text class="tick end" x="700" y="260">12</text></svg>'
    )


def figure(id: str, title: str, look: str = "") -> Figure:
    caption = "Each curve is an arm: the best `probe.h.val` so far, and the band where others would be."
    return Figure(id, title, "The best score rises with the epochs spent.", caption, drawing(id, title, look))


def _verdicts() -> Table:
    group = group_id("confirm", "sparse")
    return table(
        "verdicts",
        "Verdicts. Each row is a comparison of two arms on the same seeds.",
        ("comparison", "verdict", "seeds", "difference", "95% over seeds and images", "p (Holm)"),
        [
            ("sparse - mlp", "worse", "8", Cell("-0.0718", group), "[-0.1172, -0.0264]", "0.0156"),
            ("directclr - mlp", "inconclusive", "8", Cell("-0.0268", group), "[-0.0605, +0.0069]", "0.109"),
            ("mlp - pixels", "control", "8", Cell("+0.2772", group), "[+0.2380, +0.3165]", "-"),
        ],
    )


def _search() -> Section:
    return Section(
        "search",
        "What the searches did",
        (
            Paragraph("Three searches of 10 trials. See the `rungs` at epochs 2 and 4."),
            Bullets(
                (
                    Item("mlp chose t0024 (`head.depth=3`).", ("It stopped 5 of 10 early.",)),
                    Item("What was spent differs, though budgets were equal.", ("36 epochs", "44 epochs")),
                )
            ),
            figure("budget", "Best score so far"),
            figure("quality", "Quality of the searches"),
            Paragraph("A search score is the best of many and so too high: it is not a result."),
            figure("importance", "What mattered"),
            Code("space:\n  optim.lr: {float: [0.05, 2.0], log: true}\n", "yaml"),
        ),
    )  # fmt: skip


def _why() -> Section:
    wide = ("arm", *(f"layer {n} probe" for n in range(1, 12)))
    return Section(
        "why",
        "Why",
        (
            *(figure(f"map-{arm}", f"Gradients: {arm}", "narrow") for arm in ARMS),
            table("layers", "Probes of each layer.", wide, [(arm, *["0.5123"] * 11) for arm in ARMS]),
            Folded(
                "How this was measured",
                (
                    Paragraph("With a linear probe on frozen features."),
                    table("folded", "A folded table.", ("key", "value"), [("temperature", "-0.2")]),
                    Code("ablate audit sparsehead"),
                ),
            ),
            Folded("What is not shown", (Paragraph(HOSTILE),)),
        ),
    )


def _unsettled() -> Section:
    return Section(
        "unsettled",
        "What could not be concluded",
        (
            table(
                "needed",
                "What it would take.",
                ("comparison", "why", "seeds needed"),
                [
                    (
                        "directclr - mlp",
                        "The interval covers zero and reaches beyond the margin of 0.02 on both sides, so "
                        "neither a difference nor equivalence is established.",
                        "31",
                    ),
                    (HOSTILE, Cell("seen in MLflow", "http://127.0.0.1:5000/#/experiments/1?a=1&b=2"), "-"),
                ],
            ),
        ),
    )


def _runs(count: int) -> Section:
    draw = random.Random(7)
    groups: dict[tuple[str, str], list[tuple[str | Cell, ...]]] = {}
    for number in range(count):
        stage, arm = "confirm" if number % 4 == 3 else "search", ARMS[number % 3]
        trial, score = f"{stage[0] if stage == 'confirm' else 't'}{number:04d}", draw.gauss(0, 1)
        state = "complete" if number % 5 else "stopped"
        cells = (f"{score:.4f}", f"{10 ** draw.uniform(-3, 0):.4g}", str(draw.randint(1, 3)), "-")
        groups.setdefault((stage, arm), []).append((trial, state, str(1000 + number), *cells))
    head = ("trial", "state", "seed", "probe.h.val", "optim.lr", "head.depth", "note")
    tables = [
        table(group_id(*name), f"Runs of {name[1]} in the {name[0]} stage.", head, rows)
        for name, rows in groups.items()
    ]
    links = table(
        "chosen",
        "What each search chose.",
        ("arm", "trial"),
        [("mlp", Cell("t0000", run_id("t0000"))), ("sparse", Cell("t0001", run_id("t0001")))],
    )
    return Section("runs", "All runs", (links, *tables))
