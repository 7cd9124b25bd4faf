"""What operators leave for a driver: taken once, whole, in order, and never in the way of the sweep."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ablate.sweep.requests import Request, Requests

ALL = [
    Request("retry", "t0003"),
    Request("cancel", "t0001"),
    Request("stop", confirm=False),
    Request("pause"),
]


def test_requests_are_taken_once_and_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    files = [Requests(tmp_path).put(request) for request in ALL]
    assert Requests(tmp_path).waiting() == ALL
    assert Requests(tmp_path).take() == ALL
    assert Requests(tmp_path).take() == []
    assert not any(file.exists() for file in files)


def test_a_sweep_without_requests_needs_no_folder(tmp_path: Path) -> None:
    assert Requests(tmp_path).take() == []
    assert list(tmp_path.iterdir()) == []


def test_a_request_half_written_is_not_taken_yet(tmp_path: Path) -> None:
    file = Requests(tmp_path).put(Request("pause"))
    file.rename(file.with_suffix(".partial"))
    assert Requests(tmp_path).take() == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"kind": "explode"}', '{"kind": "pause", "trial": "t0001"}', '{"kind": "retry"}',
     '{"kind": "pause", "more": 1}'],
)  # fmt: skip
def test_what_is_no_request_is_dropped_with_a_warning_and_the_others_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    requests = Requests(tmp_path)
    requests.put(Request("pause")).write_text(text)
    requests.put(Request("retry", "t0003"))
    with caplog.at_level(logging.WARNING):
        assert requests.take() == [Request("retry", "t0003")]
    assert len(caplog.records) == 1
    assert requests.take() == []


def test_a_new_driver_ignores_what_was_left_for_an_earlier_one_and_not_what_came_since(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may read its ledger for long between taking the lock and looking for requests."""
    requests = Requests(tmp_path)
    requests.put(Request("cancel", "t0001"))
    left = requests.files()
    requests.put(Request("pause"))
    with caplog.at_level(logging.WARNING):
        requests.open(left)
    assert "cancel t0001" in caplog.text
    assert requests.take() == [Request("pause")]


def test_a_request_withdrawn_before_it_was_taken_never_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Withdrawn in the very moment between reading and taking: who deletes the file has the request."""
    file = Requests(tmp_path).put(Request("pause"))
    read = Path.read_text

    def read_then_withdraw(path: Path) -> str:
        text = read(path)
        file.unlink()
        return text

    monkeypatch.setattr(Path, "read_text", read_then_withdraw)
    assert Requests(tmp_path).take() == []
