"""Folding a ledger again: the external events are decided anew and every recorded decision is compared."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.ledger import EXTERNAL, Event, canonical
from ablate.search.decide import decide
from ablate.search.state import InvalidEvent, SearchState, begin


class ReplayMismatch(Exception):
    """A recorded decision is not what its events lead to; the message names it and both decisions."""

    def __init__(self, sequence: int, recorded: Event | None, decided: Event | None) -> None:
        self.sequence, self.recorded, self.decided = sequence, recorded, decided
        super().__init__(
            f"record {sequence}: the ledger says {_show(recorded)}, but its events lead to {_show(decided)}. "
            "Was the ledger edited, or made by another version of ablate or Optuna, or on another processor?"
        )


def replay(events: Sequence[Event]) -> SearchState:
    """The state after ``events``, a ledger from its opening on. Raises ReplayMismatch.

    The last batch may be incomplete (a reader may be early, a writer may have died in it).
    """
    return _fold(begin(events[0]), events)[0]


def refold(events: Sequence[Event]) -> tuple[SearchState, list[Event]]:
    """As ``replay``, to go on from: also the decisions of the last external event that are not recorded yet.

    The parameters that the search drew, and whether it had converged, are taken as recorded: they are equal
    to the last digit only on processors with the same vector instructions, and a sweep may go on on another
    machine.
    """
    state = begin(events[0])
    for e in events:
        if e["event"] == "asked" and e["stage"] == "search":
            state.searches[e["arm"], e["replicate"]].recorded[e["number"]] = e["params"]
    state.converged = _convergence(events)
    return _fold(state, events)


def _convergence(events: Sequence[Event]) -> dict[str, str]:
    """Why the search had converged when a trial completed, "" if it had not, by trial.

    Without the last batch, which may lack its end.
    """
    found: dict[str, str] = {}
    batch: dict[str, str] = {}
    last = ""
    for event in events:
        if event["event"] in EXTERNAL:
            found, batch = found | batch, {}
        elif event["event"] == "finished" and event["state"] == "COMPLETE":
            last, batch[event["trial"]] = event["trial"], ""
        elif event["event"] == "closed" and event["by"] == "converged":
            batch[last] = event["reason"]
    return found


def _fold(state: SearchState, events: Sequence[Event]) -> tuple[SearchState, list[Event]]:
    due: list[Event] = []
    for event in events[1:]:
        if event["event"] in EXTERNAL:
            if due:
                raise ReplayMismatch(event["sequence"], event, due[0])
            due = _decide(state, event)
        elif not due or canonical(due[0]) != canonical(event):
            raise ReplayMismatch(event["sequence"], event, due[0] if due else None)
        else:
            due.pop(0)
    return state, due


def _decide(state: SearchState, event: Event) -> list[Event]:
    try:
        return decide(state, event)
    except InvalidEvent as error:
        raise InvalidEvent(f"record {event['sequence']}: {error}") from None


def _show(event: Event | None) -> str:
    return "nothing" if event is None else canonical(event)
