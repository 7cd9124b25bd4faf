"""The live view of a sweep in the terminal: a subscriber of the driver's events, and nothing more.

    with LiveView() as view:
        driver.subscribe(view, past=True)
        run_inline(driver, ...)

On a terminal it is a panel that is drawn anew four times a second; anywhere else plain lines: one for each
change of stage and each trial that ends (at most one in half a second unless it is the best or has failed),
and one a minute while nothing ends. It never raises into the sweep.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablate.ledger import Event
from ablate.report.trials import TrialRecord, fold_event

_log = logging.getLogger(__name__)
_QUIET = 0.5  # seconds between two plain lines of ordinary trials
_HEARTBEAT = 60.0
_SHOWN = 8  # running trials on the panel


@dataclass
class Progress:
    """What the view knows: the fold of the events, and the pace since this driver began."""

    sweep: dict[str, Any] = field(default_factory=dict)
    records: dict[str, TrialRecord] = field(default_factory=dict)
    chosen: Event | None = None
    ended: Event | None = None
    began: float = 0.0
    now: float = 0.0
    reports: int = 0

    def update(self, event: Event) -> None:
        """Take in one event."""
        fold_event(self.records, event)
        self.now = event["time"]
        match event["event"]:
            case "opened":
                self.sweep, self.began = event["sweep"], event["time"]
            case "resumed":
                self.began, self.reports = event["time"], 0
            case "reported":
                self.reports += 1
            case "chosen":
                self.chosen = event
            case "ended":
                self.ended = event

    @property
    def objective(self) -> str:
        return str(self.sweep["search"]["objective"]["metric"])

    @property
    def planned(self) -> int:
        """Trials of both stages."""
        return int(self.sweep["search"]["trials"]) + len(self._arms()) * self._seeds()

    @property
    def done(self) -> int:
        return sum(r.finished for r in self.records.values())

    def counts(self) -> Counter[str]:
        """Trials by state."""
        return Counter(r.state for r in self.records.values())

    def running(self) -> list[TrialRecord]:
        return [r for r in self.records.values() if r.state == "RUNNING"]

    def best(self) -> TrialRecord | None:
        """The best completed trial of the search so far."""
        sign = 1 if self.sweep["search"]["objective"]["mode"] == "max" else -1
        complete = [r for r in self.records.values() if r.stage == "search" and r.state == "COMPLETE"]
        return max(complete, key=lambda r: sign * r.metrics[self.objective], default=None)

    def seconds_left(self) -> float | None:
        """At the pace of epochs since this driver began; None before there is one."""
        if self.reports == 0 or self.now <= self.began:
            return None
        return self._epochs_left() * (self.now - self.began) / self.reports

    def _epochs_left(self) -> float:
        full = max(1, self.sweep["base"]["optim"]["epochs"])
        search = [r for r in self.records.values() if r.stage == "search"]
        ended = [max(1, r.epochs) for r in search if r.finished]
        usual = sum(ended) / len(ended) if ended else full
        waiting = int(self.sweep["search"]["trials"]) - len(ended)
        left = waiting * usual - sum(min(usual, r.epochs) for r in search if not r.finished)
        for arm in self._arms():
            ladder = [r for r in self.records.values() if r.stage == "confirm" and r.arm == arm]
            each = 1 if arm in self._confirm().get("controls", ()) else full
            left += each * self._seeds() - sum(each if r.finished else r.epochs for r in ladder)
        return max(0.0, left)

    def _confirm(self) -> dict[str, Any]:
        return self.sweep["confirm"] or {}

    def _arms(self) -> list[str]:
        if self.chosen:
            return list(self.chosen["arms"])
        plan = self._confirm()
        return ["best", *plan["references"], *plan["controls"]] if plan else []

    def _seeds(self) -> int:
        return int(self._confirm().get("seeds", 0))


class LiveView:
    """Call it with every event. ``since`` (Unix seconds): earlier events are history, taken in silently."""

    def __init__(self, console: Console | None = None, *, since: float | None = None) -> None:
        self.console = console or Console()
        self.progress = Progress()
        self._since = time.time() if since is None else since
        self._mutex = threading.Lock()
        self._live: Live | None = None
        self._greeted = self._broken = False
        self._last_line = 0.0
        self._best: str | None = None

    def __enter__(self) -> LiveView:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event. What goes wrong here is logged once and ends the view, not the sweep."""
        if self._broken:
            return
        try:
            with self._mutex:
                self.progress.update(event)
                if self._live is None and event["time"] >= self._since:
                    self._say(event)
        except Exception:
            self._broken = True
            _log.exception("the live view failed and is switched off; the sweep goes on")

    def _say(self, event: Event) -> None:
        if not self._greeted:
            self._greeted, self._last_line = True, event["time"] - _QUIET
            self._print(_greeting(self.progress))
        line, urgent = self._line(event)
        if line and (urgent or event["time"] - self._last_line >= _QUIET):
            self._last_line = event["time"]
            self._print(line)

    def _line(self, event: Event) -> tuple[str | None, bool]:
        """The plain line for an event, and whether it must not be left out."""
        p = self.progress
        match event["event"]:
            case "finished":
                record, best = p.records[event["trial"]], p.best()
                news = best is record and best.trial != self._best
                self._best = best.trial if best else None
                text = f"{_count(p)} {_outcome(p, record)}{'  <- best' if news else ''} | {_state(p)}"
                return text, news or record.state in ("FAILED", "COLLAPSED")
            case "chosen":
                return _choice(event, p.objective), True
            case "ended":
                return f"ended after {p.done} trials" + _because(event["reason"]), True
            case "reported" if event["time"] - self._last_line >= _HEARTBEAT:
                return f"{_count(p)} {event['trial']} epoch {event['epoch']} | {_state(p)}", False
        return None, False

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        try:
            with self._mutex:
                return _panel(self.progress) if self.progress.sweep else Text("")
        except Exception as error:
            return Text(f"the live view failed ({error}); the sweep goes on")


def _greeting(p: Progress) -> str:
    resumed = f", {p.done} of them done already" if p.done else ""
    return f"{p.sweep['name']}: {p.planned} trials{resumed}"


def _count(p: Progress) -> str:
    width = len(str(p.planned))
    return f"[{p.done:>{width}}/{p.planned}]"


def _outcome(p: Progress, record: TrialRecord) -> str:
    value = record.metrics.get(p.objective)
    score = "" if value is None else f" {p.objective} {value:.4f}"
    if record.stage == "confirm":
        test = record.metrics.get("probe.h.test")
        label = f"{record.trial} {record.arm} seed {record.seed}"
        score = score if test is None else f" probe.h.test {test:.4f}"
    else:
        label = record.trial
    if record.state == "COMPLETE":
        return f"{label} complete{score}"
    if record.state == "PRUNED":
        return f"{label} stopped at epoch {record.epochs}{score}"
    return f"{label} {record.state.lower()} at epoch {record.epochs}{_because(record.reason)}"


def _state(p: Progress) -> str:
    counts, best = p.counts(), p.best()
    lost = counts["FAILED"] + counts["COLLAPSED"]
    parts = [f"{counts['RUNNING']} running, {counts['PRUNED']} stopped, {lost} failed"]
    if best:
        parts.insert(0, f"best {best.metrics[p.objective]:.4f} ({best.trial})")
    if (left := p.seconds_left()) is not None and not p.ended:
        parts.append(f"{_duration(left)} left")
    return " | ".join(parts)


def _choice(event: Event, objective: str) -> str:
    chosen = f"search done: best {event['trial']}, {objective} {event['value']:.4f}"
    if not event["arms"]:
        return chosen
    return f"{chosen}; confirm: {', '.join(event['arms'])} on {len(event['seeds'])} fresh seeds"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _duration(seconds: float) -> str:
    """``40 s``, ``7 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _panel(p: Progress) -> RenderableType:
    stage = "ended" if p.ended else "confirm" if p.chosen else "search"
    head = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, p.planned), completed=p.done, width=30)
    head.add_row(Text(p.sweep["name"], style="bold"), Text(stage), bar, Text(_count(p)))
    parts: list[RenderableType] = [head, Text(_state(p))]
    running = p.running()
    if running:
        parts.append(_running_table(p, running))
    lost = [r for r in p.records.values() if r.state in ("FAILED", "COLLAPSED")]
    parts += [Text(_outcome(p, r), style="red", overflow="ellipsis", no_wrap=True) for r in lost[-3:]]
    return Group(*parts)


def _running_table(p: Progress, running: list[TrialRecord]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "arm", "seed", "epoch", p.objective):
        table.add_column(name, justify="left" if name in ("trial", "arm") else "right")
    for r in running[:_SHOWN]:
        value = r.metrics.get(p.objective)
        last = r.spec["optim"]["epochs"]
        score = "" if value is None else f"{value:.4f}"
        table.add_row(r.trial, r.arm, str(r.seed), f"{r.epochs}/{last}", score)
    if len(running) > _SHOWN:
        table.add_row(f"... {len(running) - _SHOWN} more", "", "", "", "")
    return table
