"""The walls of the design: which room may import which, and who alone may import ray, mlflow and ffcv."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ablate"
_LEARN = {"spec", "data", "model", "objective"}
MAY_IMPORT = {
    "spec": set(),
    "objective": set(),
    "statistics": set(),
    "data": {"spec"},
    "model": {"spec"},
    "train": _LEARN,
    "measure": _LEARN,
    "theory": {"spec", "objective", "measure"},
    "trial": _LEARN | {"train", "measure"},
    "ledger": {"spec"},
    "search": {"spec", "ledger", "statistics"},
    "sweep": _LEARN | {"train", "measure", "trial", "ledger", "search", "tracking", "report"},
    "tracking": {"spec", "ledger", "report"},
    "report": {"spec", "ledger", "statistics"},
    "cluster": {"spec"},
}
ONLY_IN = {
    "ray": {"sweep", "cluster", "bench"},
    "mlflow": {"tracking"},
    "ffcv": {"data", "bench"},
    "numba": {"data"},
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_stay_within_the_walls(path: Path) -> None:
    room, names = room_of(path), imports(path)
    for library, rooms in ONLY_IN.items():
        if room not in rooms:
            assert not {n for n in names if n.split(".")[0] == library}, f"{library} belongs to {rooms}"
    if room in MAY_IMPORT:
        ours = {n.split(".")[1] for n in names if n.startswith("ablate.")}
        rooms_used = {n for n in ours if (ROOT / n).is_dir()}
        assert rooms_used <= MAY_IMPORT[room] | {room}


def test_the_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text("def f():\n    from ray import tune\n")
    assert "ray.tune" in imports(probe)
