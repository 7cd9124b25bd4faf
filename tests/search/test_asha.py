"""ASHA's stopping rule: who goes on at a rung, and how first arrivals and ties are treated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ablate.search.asha import Rung, cutoff

losses = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40)


def goes_on(rung: Rung, loss: float, reduction: int) -> bool:
    rung.enter(f"t{len(rung.trials)}", loss)
    limit = cutoff(rung.losses, reduction)
    return limit is None or loss <= limit


def test_the_first_arrivals_go_on_whatever_their_value() -> None:
    rung = Rung()
    assert [goes_on(rung, loss, 3) for loss in (1.0, 9.0)] == [True, True]
    assert not goes_on(rung, 5.0, 3)


@given(losses, st.integers(2, 5))
def test_a_trial_goes_on_exactly_if_fewer_than_its_share_are_strictly_better(
    arrivals: list[float], reduction: int
) -> None:
    rung = Rung()
    for i, loss in enumerate(arrivals):
        n = i + 1
        better = sum(other < loss for other in arrivals[:n])
        expected = n < reduction or better < n // reduction
        assert goes_on(rung, loss, reduction) is expected


@given(st.integers(2, 5), st.integers(1, 30))
def test_ties_never_stop(reduction: int, count: int) -> None:
    rung = Rung()
    assert all(goes_on(rung, 1.0, reduction) for _ in range(count))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60, unique=True), st.integers(2, 4))
def test_the_best_so_far_always_goes_on(arrivals: list[float], reduction: int) -> None:
    rung = Rung()
    for i, loss in enumerate(arrivals):
        went_on = goes_on(rung, loss, reduction)
        assert went_on or loss > min(arrivals[: i + 1])
