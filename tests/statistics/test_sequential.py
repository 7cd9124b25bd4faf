"""Alpha spent over looks adds up, and the total error stays within it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.statistics.multiplicity import reached
from ablate.statistics.sequential import alphas
from ablate.statistics.sign_flip import sign_flip_rows

ladders = st.lists(st.integers(2, 60), min_size=1, max_size=8, unique=True).map(sorted)


@given(ladders, st.floats(0.001, 0.2), st.floats(0.5, 6.0))
def test_shares_are_positive_and_add_up(looks: list[int], alpha: float, rho: float) -> None:
    shares = alphas(looks, alpha, rho)
    assert len(shares) == len(looks)
    assert all(share > 0 for share in shares)
    assert sum(shares) == pytest.approx(alpha)


@given(ladders, st.data())
def test_what_is_spent_up_to_a_look_does_not_depend_on_the_looks_before(
    looks: list[int], data: st.DataObject
) -> None:
    kept = sorted({*data.draw(st.sets(st.sampled_from(looks))), looks[-1]})
    every, some = alphas(looks, 0.05), alphas(kept, 0.05)
    for i, look in enumerate(kept):
        assert sum(some[: i + 1]) == pytest.approx(sum(every[: looks.index(look) + 1]))


def test_known_shares() -> None:
    assert alphas([8], 0.05) == (0.05,)
    assert alphas([5, 10], 0.05) == pytest.approx((0.00625, 0.04375))
    assert alphas([5, 10], 0.05, rho=1) == pytest.approx((0.025, 0.025))


@pytest.mark.parametrize("looks", [[], [8, 8], [12, 8], [0, 4], [-3]])
def test_looks_that_do_not_grow_are_refused(looks: list[int]) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        alphas(looks, 0.05)


@pytest.mark.parametrize(("alpha", "rho"), [(0.0, 3.0), (1.0, 3.0), (0.05, 0.0)])
def test_levels_that_are_none_are_refused(alpha: float, rho: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        alphas([4, 8], alpha, rho)


def _share_ever_rejected(noise: np.ndarray, looks: list[int], levels: tuple[float, ...]) -> float:
    hits = [reached(sign_flip_rows(noise[:, :n]), a) for n, a in zip(looks, levels, strict=True)]
    return float(np.any(hits, axis=0).mean())


@pytest.mark.parametrize("law", ["normal", "laplace", "standard_cauchy"])
def test_total_error_over_looks_is_within_alpha(law: str) -> None:
    """The same looks without spending reject 12% of the time: this test can fail."""
    samples, looks = 4000, list(range(6, 14))
    noise = getattr(np.random.default_rng(4), law)(size=(samples, looks[-1]))
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / samples)
    assert _share_ever_rejected(noise, looks, alphas(looks, 0.05)) <= bound
    assert _share_ever_rejected(noise, looks, (0.05,) * len(looks)) > bound
