"""The token: made once, readable by its owner alone, and shown to nobody."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from ablate.cluster.kind import ClusterError
from ablate.cluster.token import ensure_token, read_token, token_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_where_ray_looks_for_it_for_its_owner_alone(home: Path) -> None:
    before = os.umask(0)  # nothing of the mode may come from the user's habits
    try:
        said = ensure_token()
    finally:
        os.umask(before)
    path = home / ".ray" / "auth_token"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert len(bytes.fromhex(read_token())) == 32
    assert [line.partition(":")[0] for line in said] == [str(path)]
    assert read_token() not in "".join(said)
    assert [p.name for p in path.parent.iterdir()] == ["auth_token"]


def test_a_token_that_is_there_is_kept_and_closed_to_others_with_a_word() -> None:
    ensure_token()
    before = read_token()
    assert ensure_token() == []
    token_file().chmod(0o644)
    [said] = ensure_token()
    assert "0644" in said
    assert before not in said
    assert (read_token(), mode(token_file())) == (before, 0o600)


def test_all_who_make_one_at_the_same_time_have_the_same() -> None:
    begin = threading.Barrier(8)
    seen: list[str] = []

    def make() -> None:
        begin.wait()
        ensure_token()
        seen.append(read_token())

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_no_token_and_an_empty_one_are_said_with_what_to_do() -> None:
    with pytest.raises(ClusterError, match="there is no token"):
        read_token()
    ensure_token()
    token_file().write_text("\n")
    for use in (ensure_token, read_token):
        with pytest.raises(ClusterError, match="the token is empty; delete the file"):
            use()
