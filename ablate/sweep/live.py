"""The live view of a sweep in the terminal: a subscriber of the driver's events, and nothing more.

    with LiveView() as view:
        driver.subscribe(view, past=True)
        run_inline(driver, ...)

On a terminal it is a panel that is drawn anew four times a second; anywhere else plain lines: one for each
change of stage and each trial that ends or waits (at most one in half a second unless it is the best or has
failed), and one a minute while none does. It never raises into the sweep.
"""

from __future__ import annotations

import logging
import threading
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablate.ledger import Event
from ablate.report.trials import TrialRecord
from ablate.sweep.progress import SEARCH, Progress

_log = logging.getLogger(__name__)
_QUIET = 0.5  # seconds between two plain lines of ordinary trials
_HEARTBEAT = 60.0
_SHOWN = 8  # running trials on the panel


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
        self._best: TrialRecord | None = None

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
        urgent = self._is_news(event)
        if urgent or event["time"] - self._last_line >= _QUIET:
            line = self._line(event)
            if line:
                self._last_line = event["time"]
                self._print(line)

    def _is_news(self, event: Event) -> bool:
        """Whether this must not be left out."""
        p = self.progress
        if event["event"] == "finished" and p.best is not self._best:
            self._best = p.best
            return True
        lost = event["event"] == "finished" and event["state"] in ("FAILED", "COLLAPSED")
        return lost or event["event"] in ("closed", "retried", "chosen", "declared", "looked", "ended")

    def _line(self, event: Event) -> str | None:
        """The plain line for an event, if there is anything to say."""
        p = self.progress
        match event["event"]:
            case "finished":
                record = p.records[event["trial"]]
                news = "  <- best" if record is p.best else ""
                return f"{_count(p)} {_outcome(p, record)}{news} | {_state(p)}"
            case "paused":
                score = _score(p, p.records[event["trial"]])
                return f"{_count(p)} {event['trial']} waits after epoch {event['epoch']}{score} | {_state(p)}"
            case "closed":
                return f"the search{_of_arm(event)} asks for no more trials{_because(event['reason'])}"
            case "retried":
                return f"{event['trial']} is to run again"
            case "chosen":
                best = f"best {event['trial']}, {p.objective} {event['value']:.4f}"
                return f"search done{_of_arm(event)}: {best}"
            case "declared" if event["arms"]:
                of_each = f", in each of {n} replicates" if (n := event["replicates"]) > 1 else ""
                return f"confirm: {', '.join(event['arms'])} on {len(event['seeds'])} fresh seeds{of_each}"
            case "looked":
                return _look(event)
            case "ended":
                return f"ended after {p.done} trials" + _because(event["reason"])
            case "reported" if event["time"] - self._last_line >= _HEARTBEAT:
                return f"{_count(p)} {event['trial']} epoch {event['epoch']} | {_state(p)}"
        return None

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
    score = _score(p, record)
    if record.stage == "confirm":
        test = record.metrics.get("probe.h.test")
        label = f"{record.trial} {record.arm} seed {record.seed}"
        score = score if test is None else f" probe.h.test {test:.4f}"
    else:
        label = record.trial
    if record.duplicate_of:
        return f"{label} {record.state.lower()}{score}{_because(record.reason)}"
    if record.state == "COMPLETE":
        return f"{label} complete{score}"
    if record.state == "PRUNED":
        return f"{label} stopped at epoch {record.epochs}{score}"
    return f"{label} {record.state.lower()} at epoch {record.epochs}{_because(record.reason)}"


def _score(p: Progress, record: TrialRecord) -> str:
    value = record.metrics.get(p.objective)
    return "" if value is None else f" {p.objective} {value:.4f}"


def _state(p: Progress) -> str:
    counts, best = p.counts(), p.best
    states = {"running": counts["RUNNING"], "stopped": counts["PRUNED"], "failed": counts["FAILED"]}
    rare = {"collapsed": counts["COLLAPSED"], "paused": counts["PAUSED"], "repeated": len(p.duplicates)}
    states |= {name: count for name, count in rare.items() if count}
    parts = [", ".join(f"{count} {name}" for name, count in states.items())]
    if best:
        parts.insert(0, f"best {best.metrics[p.objective]:.4f} ({best.trial})")
    if (left := p.seconds_left()) is not None and not p.ended:
        parts.append(f"{duration(left)} left")
    if not (p.over or p.ended):
        parts += [text for name, text in amounts(p.budget()).items() if name != "trials"]
    return " | ".join(parts)


def amounts(budget: dict[str, tuple[float, float]]) -> dict[str, str]:
    """``"epochs": "epochs 12 of 60"`` of every limit on the search."""
    return {
        name: f"{name.replace('_', ' ')} {_number(used)} of {_number(allowed)}"
        for name, (used, allowed) in budget.items()
    }


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def _look(event: Event) -> str:
    found = event["comparisons"]
    settled = sum(each["settled"] for each in found.values())
    then = "confirmation stops" if event["stop"] else "it goes on"
    return f"look {event['look']}, {event['seeds']} seeds: {settled} of {len(found)} settled, {then}"


def _of_arm(event: Event) -> str:
    """Which search an event is of; nothing where there is only one."""
    if event["arm"] == SEARCH:
        return ""
    return f" ({event['arm']}" + (f", replicate {event['replicate']})" if event["replicate"] else ")")


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def duration(seconds: float) -> str:
    """``40 s``, ``7 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _panel(p: Progress) -> RenderableType:
    stage = "search closed" if p.over and not (p.declared or p.ended) else p.stage
    head = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, p.planned), completed=p.done, width=30)
    head.add_row(Text(p.sweep["name"], style="bold"), Text(stage), bar, Text(_count(p)))
    parts: list[RenderableType] = [head, Text(_state(p))]
    running = p.running()
    if running:
        parts.append(_running_table(p, running))
    for closed in () if p.declared else p.closed.values():
        of = _of_arm(closed)
        parts.append(Text(f"the search{of} asks for no more trials{_because(closed['reason'])}"))
    lost = [Text(_outcome(p, r), style="red", overflow="ellipsis", no_wrap=True) for r in p.lost()[-3:]]
    parts += lost
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
