"""A package with plugins, installed for one test."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ablate.spec import plugins
from tests.installed import Groups, install
from tests.spec.plugin import GOOD, Install


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs the package wavy-heads: its entry points, and files besides wavy.py; returns their folder."""

    def put(groups: Groups, files: Mapping[str, str] | None = None) -> Path:
        install(tmp_path, "wavy_heads", groups, {"wavy.py": GOOD, **(files or {})})
        monkeypatch.syspath_prepend(str(tmp_path))
        return tmp_path

    _forget()
    before = set(sys.modules)
    yield put
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    _forget()


def _forget() -> None:
    plugins._loaded.cache_clear()
    plugins._entry_points.cache_clear()
