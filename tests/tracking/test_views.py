"""Prepared views: what MLflow is asked to show. That it shows it is tested in a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_experiment_tag

from ablate.spec.sweep import SweepSpec
from ablate.tracking.views import views_of
from tests.report.made_sweep import sweep_spec
from tests.search.synthetic import LR, sweep
from tests.tracking.large import large_spec

ID = "0123456789abcdef"


def states(spec: SweepSpec) -> list[dict[str, Any]]:
    """Every view as MLflow reads it: the envelope, and the state in it."""
    found = []
    for view in views_of(spec.as_dict(), ID):
        key, value = view.tag(1.5)
        _validate_experiment_tag(key, value)
        envelope = json.loads(value)
        assert key == f"mlflow.sharedViewState.{view.id}"
        assert envelope["name"].startswith(f"{spec.name}: ")
        assert (envelope["createdAt"], envelope["updatedAt"]) == (1500, 1500)
        found.append(json.loads(envelope["state"]))
    return found


def axes(state: dict[str, Any]) -> list[list[str]]:
    parallel = [chart for chart in state["compareRunCharts"] if chart["type"] == "PARALLEL"]
    return [chart["selectedParams"] + chart["selectedMetrics"] for chart in parallel]


def test_search_and_confirm_each_have_their_runs_order_and_columns() -> None:
    search, confirm = states(large_spec())
    assert search["searchFilter"] == f"tags.stage = 'search' and tags.`ablate.sweep_id` = '{ID}'"
    assert (search["orderByKey"], search["orderByAsc"]) == ("metrics.`probe.h.val`", False)
    assert search["selectedColumns"][:3] == ["tags.`state`", "metrics.`probe.h.val`", "params.`arm`"]
    assert confirm["searchFilter"].startswith("tags.stage = 'confirm'")
    assert confirm["orderByKey"] == confirm["selectedColumns"][0] == "metrics.`probe.h.test`"
    assert confirm["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "arm"}]
    assert set(confirm["groupsExpanded"]) == {
        f"param.arm.{arm}" for arm in ("mlp", "sparse", "directclr", "pixels", "untrained")
    }


def test_an_axis_that_not_every_run_has_gets_coordinates_of_its_own() -> None:
    common = ["arm", "loss.margin.angular", "loss.margin.subtractive", "optim.lr"]
    assert axes(states(large_spec())[0]) == [
        [*common, "probe.h.val"],
        [*common, "head.depth", "probe.h.val"],
        [*common, "head.sparsity.shrink", "probe.h.val"],
        [*common, "head.subvector", "probe.h.val"],
    ]
    assert axes(states(sweep_spec())[0]) == [
        ["head.kind", "optim.lr", "probe.h.val"],
        ["head.kind", "optim.lr", "head.depth", "probe.h.val"],
        ["head.kind", "optim.lr", "head.subvector", "probe.h.val"],
    ]


def test_the_best_comes_first_also_where_small_is_better() -> None:
    spec = sweep(objective={"metric": "loss", "mode": "min"}, confirm={"seeds": 2})
    search, confirm = states(spec)
    assert (search["orderByKey"], search["orderByAsc"]) == ("metrics.`loss`", True)
    assert (confirm["orderByKey"], confirm["orderByAsc"]) == ("metrics.`probe.h.test`", False)


def test_tradeoffs_and_constraints_have_columns_and_charts() -> None:
    spec = sweep(
        tradeoffs=[{"metric": "rank.h.effective", "mode": "max"}],
        constraints=[{"metric": "uniformity", "at_most": -1.0}],
        sampler={"kind": "random"},
    )
    (search,) = states(spec)
    assert axes(search) == [["optim.lr", "rank.h.effective", "probe.h.val"]], (
        "the objective colours the lines"
    )
    scatters = [c["xaxis"]["key"] for c in search["compareRunCharts"] if c["type"] == "SCATTER"]
    assert scatters == ["rank.h.effective", "uniformity"]
    assert "metrics.`uniformity`" in search["selectedColumns"]


def test_an_objective_is_not_drawn_against_itself() -> None:
    (search,) = states(sweep(objective={"metric": "rank.h.effective", "mode": "max"}))
    assert not [chart for chart in search["compareRunCharts"] if chart["type"] == "SCATTER"]
    assert "metrics.`probe.h.val`" in search["selectedColumns"]


@given(st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_every_key_is_drawn_and_fits_a_tag(count: int, conditional: set[int]) -> None:
    entries = {
        f"views.key{number}": {
            "float": [0, 1],
            **({"when": {"optim.lr": number}} if number in conditional else {}),
        }
        for number in range(count)
    }
    spec = sweep(confirm={"seeds": 2})
    tree = {**spec.as_dict(), "space": {**LR, **entries}}
    for view in views_of(tree, ID):
        _validate_experiment_tag(*view.tag(1.0))
    drawn = {key for axis in axes(views_of(tree, ID)[0].state) for key in axis}
    assert drawn == {"optim.lr", "probe.h.val", *entries}


@pytest.mark.parametrize("spec", [large_spec(), sweep_spec(), sweep()], ids=["arms", "references", "search"])
def test_ids_of_charts_and_columns_are_there_once(spec: SweepSpec) -> None:
    for state in states(spec):
        charts = [chart["uuid"] for chart in state["compareRunCharts"]]
        assert len(charts) == len(set(charts))
        assert len(state["columnOrder"]) == len(set(state["columnOrder"]))
        assert set(state["columnWidths"]) == set(state["columnOrder"]) == set(state["selectedColumns"])
        sections = {section["uuid"] for section in state["compareRunSections"]}
        assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections
