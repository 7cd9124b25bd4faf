"""Carries a sweep out: driver, backends, live view, mirror and, at the end, the summary.

ablate.run_sweep(ablate.load_sweep("search_spaces/sparsehead.yaml"))
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rich.console import Console

from ablate.data import build, default_cache
from ablate.report import summarise, write_results
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Driver, DriverError
from ablate.sweep.live import LiveView
from ablate.tracking import Mirror, find_store

BACKENDS = ("ray", "inline")


def run_sweep(
    sweep: SweepSpec,
    *,
    runs: Path = Path("runs"),
    backend: str = "ray",
    address: str | None = None,
    cache: Path | None = None,
    resume: bool = False,
) -> Path:
    """Run a sweep to its end, or go on with it if ``resume``; returns its folder ``runs/<name>``.

    ``backend`` is ``ray`` (slots on this machine, or on the cluster at ``address``) or ``inline`` (this
    process, one trial at a time). Built data sets go to ``cache``. A failing trial is recorded and never ends
    the sweep. Raises, before anything is started, DataError if the data are bad, TrackingError if the
    tracking URI can never work, and DriverError if the sweep exists (or, resuming, does not, or began with
    other values); later, what the backend raises, and DriverError if it was stopped before the end.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, found {backend!r}")
    cache = cache or default_cache()
    build(sweep.base.data, cache, progress=True)
    find_store(runs, sweep.tracking.uri)
    with Driver(sweep, runs, resuming=resume) as driver:
        with closing(Mirror(driver.folder, sweep.tracking.uri, sweep.tracking.experiment)):
            try:
                with LiveView() as view:
                    driver.subscribe(view, past=True)
                    _carry_out(driver, backend, cache, address)
            finally:
                write_results(driver.folder)
                if driver.finished:
                    summarise(driver.folder, Console())
        if not driver.finished:
            raise DriverError(f"stopped before the end; to go on: ablate resume {sweep.name} --runs {runs}")
        print(
            f"\n{driver.folder}: results.parquet, summary.md, ledger.jsonl. MLflow: ablate ui --runs {runs}"
        )
    return driver.folder


def _carry_out(driver: Driver, backend: str, cache: Path, address: str | None) -> None:
    if backend == "inline":
        from ablate.sweep.inline import run_inline

        run_inline(driver, cache, driver.sweep.resources.cpus)
    else:
        from ablate.sweep.ray_backend import run_on_ray

        run_on_ray(driver, cache=cache, address=address)
