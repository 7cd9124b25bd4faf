"""Carries a sweep out: driver, backends, live view, mirror and, at the end, the summary.

ablate.run_sweep(ablate.load_sweep("search_spaces/sparsehead.yaml"))
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from ablate.data import build, default_cache
from ablate.ledger import Ledger, StoreError
from ablate.report import summarise, write_results
from ablate.report.content import write_report
from ablate.report.machines import machines_in
from ablate.spec.sweep import SweepSpec
from ablate.sweep.curves import played, recordings
from ablate.sweep.disk import check_disk
from ablate.sweep.driver import LEDGER, Driver, DriverError
from ablate.sweep.live import LiveView
from ablate.sweep.requests import Requests
from ablate.sweep.signals import two_stages
from ablate.sweep.simulated import VirtualClock, run_simulated
from ablate.sweep.storage import SweepStorage, storing
from ablate.tracking import Mirror, check_recordable, find_store
from ablate.trial import TrialRun

log = logging.getLogger(__name__)

BACKENDS = ("ray", "inline")


def run_sweep(
    sweep: SweepSpec,
    *,
    runs: Path = Path("runs"),
    backend: str = "ray",
    address: str | None = None,
    cache: Path | None = None,
    resume: bool = False,
    changes: SweepSpec | None = None,
    storage: str | None = None,
) -> Path:
    """Run a sweep to its end, or go on with it if ``resume``; returns its folder ``runs/<name>``.

    ``changes`` is the resumed sweep as it is to be from now on: ``spec.changes`` says what of it may differ.
    ``backend`` is ``ray`` (slots on this machine, or on the cluster at ``address``) or ``inline`` (this
    process, one trial at a time). Built data sets go to ``cache``. ``storage`` is a URL where the ledger,
    checkpoints and artifacts are kept too (see ``sweep.storage``); a resumed sweep knows its own.
    ``resources.gpus: auto`` is measured before the first trial, on the cluster (see ``sweep.packing``). A
    failing trial is recorded and never ends the sweep. The first SIGINT or SIGTERM, and an operator's pause,
    let running trials save; a second SIGINT raises KeyboardInterrupt. Raises, before anything is started,
    DataError if the data are bad, TrackingError if the tracking URI can never work or holds a password,
    StoreError if the storage cannot be used, DriverError if the disk has no room or the sweep exists (or,
    resuming, does not, or began with other values); later, what the backend raises, and DriverError if it was
    stopped before the end.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, found {backend!r}")
    if backend == "inline" and sweep.resources.gpus == "auto":
        _refuse_auto(changes or sweep, "runs one trial at a time, so that nothing is packed")
    cache, tracking = cache or default_cache(), (changes or sweep).tracking
    build(sweep.base.data, cache, progress=True)
    check_recordable(tracking.uri)
    find_store(runs, tracking.uri)
    check_disk(changes or sweep, runs)
    requests, stored = Requests(runs / sweep.name), SweepStorage.find(runs / sweep.name, storage)
    left = requests.files()  # what comes once this driver has the lock is for this one, however long it reads
    with Driver(
        sweep,
        runs,
        resuming=resume,
        changes=changes,
        open_log=stored.open_log if stored else Ledger.open,
        requests=requests.take,
        storage=stored,
        settle=partial(_settled, cache=cache, address=address) if backend == "ray" else None,
    ) as driver:
        requests.open(left)
        if stored:
            stored.publish()
        with Mirror(driver.folder, tracking.uri, tracking.experiment):
            try:
                with LiveView() as view:
                    driver.subscribe(view, past=True)
                    _carry_out(driver, backend, cache, address, stored)
            except BaseException:
                try:
                    _write_results(driver, stored)
                except (DriverError, StoreError) as error:  # say, the disk is full, which is what ended it
                    log.warning("%s", error)
                raise
            _write_results(driver, stored)
        if not driver.finished:
            raise DriverError(f"stopped before the end; to go on: ablate resume {sweep.name} --runs {runs}")
        print(
            f"\n{driver.folder}: report/index.html, results.parquet, summary.md, ledger.jsonl. "
            f"MLflow: ablate ui --runs {runs}"
        )
    return driver.folder


def simulate_sweep(sweep: SweepSpec, recorded: Sequence[Path], *, runs: Path = Path("runs")) -> Path:
    """What would a sweep have come to with another scheduler, budget or number of slots?

    Nothing is trained: its trials are played, under a virtual clock, from the ledgers in ``recorded``, which
    are folders of earlier sweeps.

    Returns its folder, ``runs/<name>-simulated``, so that nobody takes it for the sweep itself. Raises
    DriverError if that exists, nothing is recorded or ``resources.gpus`` is auto, and Unrecorded for a trial
    that was not.
    """
    _refuse_auto(sweep, "trains nothing, so that nothing can be measured")
    for folder in recorded:
        if not (folder / LEDGER).is_file():
            raise DriverError(f"{folder}: no sweep was recorded here ({LEDGER} is missing)")
    if len(machines := set().union(*map(machines_in, recorded))) > 1:
        log.warning(
            "the recorded trials ran on several types of machine (%s): hours that come of them hold on none",
            ", ".join(sorted(machines)),
        )
    curves = recordings(*(Ledger.read(folder / LEDGER) for folder in recorded))
    renamed = SweepSpec.model_validate({**sweep.as_dict(), "name": f"{sweep.name}-simulated"})
    clock = VirtualClock()
    with Driver(renamed, runs, clock=clock, open_log=partial(Ledger.open, clock=clock)) as driver:
        usage = run_simulated(driver, played(curves), clock)
        _write_results(driver, None)
    print(
        f"\n{driver.folder}: simulated; {usage.seconds:,.0f} s on {usage.slots} slots, which were busy for "
        f"{usage.efficiency:.0%} of it"
    )
    return driver.folder


def _settled(sweep: SweepSpec, folder: Path, *, cache: Path, address: str | None) -> SweepSpec:
    if sweep.resources.gpus != "auto":
        return sweep
    from ablate.sweep.packing import settle

    return settle(sweep, folder, cache=cache, address=address)


def _refuse_auto(sweep: SweepSpec, why: str) -> None:
    if sweep.resources.gpus == "auto":
        raise DriverError(f"resources.gpus is auto, but this backend {why}; write a number, such as 1, or 0")


def _write_results(driver: Driver, stored: SweepStorage | None) -> None:
    if stored:
        stored.fetch_artifacts()
    try:
        write_results(driver.folder)
        if driver.finished:
            summarise(driver.folder, Console())
            _write_report(driver.folder)
    except OSError as error:
        raise DriverError(
            f"{driver.folder}: the results cannot be written ({error}). Nothing recorded is lost: make room, "
            f"then `ablate resume {driver.sweep.name}` writes them."
        ) from error
    if stored:
        stored.publish()


def _carry_out(
    driver: Driver, backend: str, cache: Path, address: str | None, stored: SweepStorage | None
) -> None:
    make_trial = storing(TrialRun, stored) if stored else TrialRun
    if backend == "inline":
        from ablate.sweep.inline import run_inline

        with two_stages(driver.drain):
            run_inline(driver, cache, driver.sweep.resources.cpus, make_trial)
    else:
        from ablate.sweep.datasets import Betons
        from ablate.sweep.ray_backend import run_on_ray

        betons = Betons.of(stored)
        run_on_ray(driver, cache=cache, address=address, make_trial=make_trial, betons=betons)


def _write_report(folder: Path) -> None:
    """Write the page. A sweep that has ended has ended well, even if its report cannot be made."""
    try:
        write_report(folder)
    except OSError:
        raise
    except Exception as error:
        text = "%s: the report cannot be made (%s: %s); all else is written. `ablate report %s` tries again"
        log.warning(text, folder, type(error).__name__, error, folder.name)
