"""Stored per-example results that are damaged are as if they were not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ablate.report.correctness import Correctness


def test_a_damaged_file_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    for trial in ("c0000", "c0001"):
        (tmp_path / "trials" / trial).mkdir(parents=True)
        np.savez(tmp_path / "trials" / trial / "correct.npz", **{"probe.h": np.arange(9) > 4})
    pair = [[("c0000", "c0001")]]
    assert Correctness(tmp_path, "probe.h.test").differences(pair) is not None
    file = tmp_path / "trials" / "c0001" / "correct.npz"
    whole = file.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    for place in range(len(whole)):
        damaged += [whole[:place] + bytes([value]) + whole[place + 1 :] for value in (1, 9, 255)]
    for content in damaged:
        file.write_bytes(content)
        found = Correctness(tmp_path, "probe.h.test").differences(pair)
        assert found is None or not found.any()  # a byte that nobody reads
