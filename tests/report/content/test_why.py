"""Why: only what was measured, and of the rest which key of the file measures it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ablate.report.content.material import panels
from ablate.spec.trial import MeasureSpec
from tests.report.content.reading import column, figures, points, report, said, section, tables
from tests.report.content.sweeps import FACTORS, LAYERS, WIDTHS, rich, rich_metrics, write
from tests.report.content.test_document import arms, best, factors, only_search
from tests.report.made_sweep import ARMS, Made


def test_what_was_not_measured_names_the_key_that_measures_it(tmp_path: Path) -> None:
    document = report(write(Made().search().confirm(), tmp_path / "made"))
    text = said(section(document, "why").blocks)
    for name in ("margins", "layers", "factors", "generalisation", "augmentation", "head", "inner", "subset"):
        assert f"`measure.diagnose: [{name}]`" in text
        assert MeasureSpec(diagnose=(name,)).diagnose == (name,)  # it is a value that the file takes
    assert "`measure.lidar: 10`" in text
    assert MeasureSpec(lidar=10).lidar == 10
    assert not {"gradients", "layers", "sparsity"} & {s.id for s in document.sections}


def test_what_was_measured_is_not_said_to_be_missing(tmp_path: Path) -> None:
    document = report(best(tmp_path))
    text = said(section(document, "why").blocks)
    assert "augmentation" in text  # the only ones that these trials lack
    assert "subset" in text
    assert not any(f"[{name}]" in text for name in ("margins", "layers", "factors", "inner"))
    ids = [s.id for s in document.sections]
    assert ids[ids.index("why") :][:6] == ["why", "spectra", "ranks", "sparsity", "gradients", "layers"]


def test_a_map_is_the_mean_of_the_trials_that_have_anchors_in_the_bin(tmp_path: Path) -> None:
    made = Made(arms=ARMS, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2}).search().confirm()
    document = report(write(rich(made), tmp_path / "made"))
    trials = [e["trial"] for e in made.events if e["event"] == "asked" and e["stage"] == "confirm"]
    of = {e["trial"]: e["arm"] for e in made.events if e["event"] == "asked"}
    deep = [rich_metrics(trial) for trial in trials if of[trial] == "deep"]
    mean = sum(m["margins.theta0_30.p90_100.AB"] for m in deep) / len(deep)
    shown = figures(document)["gradients-ab-deep"]
    assert f"{mean:.2f}" in shown.svg
    assert "margins.theta30_60.p90_100.AB" not in deep[0]  # nobody there: no number, and no failure
    assert "gradients-ab-pixels" not in figures(document)
    assert column(tables(document)["gradients-table"], "deep")["mean of A"].startswith(
        f"{sum(m['margins.A'] for m in deep) / len(deep):.4g} ["
    )


def test_layers_come_in_the_order_of_the_forward_pass(tmp_path: Path) -> None:
    document = report(best(tmp_path))
    table = tables(document)["layers-probe-best"]
    assert [row[0].text for row in table.rows] == list(LAYERS)
    assert table.head == ("layer", *sorted(FACTORS))
    assert {"layers-class", "layers-background"} <= figures(document).keys()


def test_the_spectrum_is_the_median_trial_relative_to_its_largest(tmp_path: Path) -> None:
    folder = arms(tmp_path)
    stored = [np.load(path / "spectrum.npz")["h"] for path in sorted((folder / "trials").glob("c*"))]
    assert {len(values) for values in stored} == {WIDTHS["h"]}
    found = figures(report(folder))["spectra-h"]
    of_plain = [values / values.max() for values in stored[0::3]]
    counted = int(np.median([(values > 0.01).sum() for values in of_plain]))
    assert f"plain has {counted} above a hundredth" in found.description


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_spectrum_that_cannot_be_read_is_named(tmp_path: Path, damage: bytes | None) -> None:
    folder = arms(tmp_path)
    file = folder / "trials" / "c0000" / "spectrum.npz"
    file.unlink() if damage is None else file.write_bytes(damage)
    text = said(section(report(folder), "spectra").blocks)
    assert "Without a readable spectrum: 1 trial (c0000)." in text


def test_without_any_spectrum_the_way_to_one_is_said(tmp_path: Path) -> None:
    folder = arms(tmp_path)
    for file in (folder / "trials").glob("*/spectrum.npz"):
        file.unlink()
    document = report(folder)
    assert "spectra" not in {s.id for s in document.sections}
    assert "`ablate train trials/TRIAL/spec.json" in said(section(document, "why").blocks)


def test_trials_of_a_factorial_are_set_against_each_factor(tmp_path: Path) -> None:
    document = report(factors(tmp_path))
    found = figures(document)
    assert {"rank-by-depth", "rank-by-wide", "accuracy-by-depth", "accuracy-by-wide"} <= found.keys()
    assert {point.x for point in points(found["rank-by-depth"])} == {(0.0,), (1.0,)}


def test_a_search_is_set_against_its_scientific_parameters(tmp_path: Path) -> None:
    space = {
        "optim.lr": {"float": [0.01, 1.0], "log": True, "role": "nuisance"},
        "head.depth": {"int": [1, 3], "role": "scientific"},
        "head.norm": {"choice": ["batch", "none"], "role": "scientific"},
    }
    from tests.report.analysis.made_search import drawn, sweep_of
    from tests.report.content.test_document import of_events

    spec = sweep_of(trials=20, space=space)
    trials = drawn(spec, lambda params: params["optim.lr"], 20)
    trials = [type(t)(t.curve, t.params, more={"rank.h.effective": 3.0 + i}) for i, t in enumerate(trials)]
    document = report(of_events(tmp_path, spec, trials))
    found = figures(document)
    ids = {"rank-by-head-depth", "accuracy-by-head-depth", "rank-by-head-norm", "accuracy-by-head-norm"}
    assert {id.replace("_2e_", "-") for id in found if "-by-" in id} == ids
    text = said(section(document, "ranks").blocks)
    assert "what went together, not what caused what" in text


def test_where_all_is_nuisance_nothing_is_called_scientific(tmp_path: Path) -> None:
    space = {"optim.lr": {"float": [0.01, 1.0], "log": True, "role": "nuisance"}}
    document = report(only_search_of(tmp_path, space))
    assert "ranks" not in {s.id for s in document.sections}
    assert "`role: nuisance`" in said(section(document, "why").blocks)


def only_search_of(tmp_path: Path, space: dict[str, object]) -> Path:
    from tests.report.analysis.made_search import drawn, sweep_of
    from tests.report.content.test_document import of_events

    spec = sweep_of(trials=12, space=space)
    return of_events(tmp_path, spec, drawn(spec, lambda params: params["optim.lr"], 12))


@pytest.mark.parametrize("count", [0, 1, 8, 9, 15, 16, 64])
def test_every_arm_is_in_a_figure_beside_the_baseline(count: int) -> None:
    names = tuple(f"arm{i}" for i in range(count))
    found = panels(names)
    assert {name for panel in found for name in panel} == set(names)
    assert all(len(panel) <= 8 and panel[0] == names[0] for panel in found)
    assert len(found) == (math.ceil((count - 1) / 7) if count > 8 else min(count, 1))
    assert all(len(panel) <= 4 for panel in panels(names, 4))


def test_a_search_without_confirmation_shows_its_own_trials_and_says_so(tmp_path: Path) -> None:
    document = report(only_search(tmp_path))
    assert "completed search trials (nothing was confirmed)" in said(section(document, "why").blocks)
