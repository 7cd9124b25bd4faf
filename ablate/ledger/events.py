"""The vocabulary of the ledger. An event is a plain dictionary whose ``event`` key is one of these names.

External events are what the world did. They are the only input of the search's ``decide``:

=============  ========================================================================================
opened         sweep (resolved), fence, made_by (digest of the code, version of the sampler library), warm:
               trials of earlier sweeps that the sampler is to know (``search.warm``);
               always the first record, which also carries ``version``, the format of the ledger
resumed        fence, made_by, epochs: {unfinished trial: epoch it restarts after (0: from its beginning)},
               changes: {dotted key of the sweep: its value from now on}
wanted         slot: asked for work and got some (asking in vain leaves no record)
reported       trial, epoch, metrics
checkpointed   trial, epoch, path (relative to the sweep's folder if inside it), digest, fence,
               step (only where it was written within an epoch): how many of the next epoch's it holds
outcome        trial, state, reason, metrics: how a slot says its trial ended
abandoned      trial, reason, epoch: its slot died; it restarts after ``epoch``; preempted (only where true):
               it left its slot since the node will be taken away, and no death is counted
halted         by ("hours" | "gpu_hours" | "operator"), reason, running ("finish" | "stop": what becomes of
               search trials under way; without confirmation, of all), confirm (whether confirmation follows)
spent          arm, replicate, reason: this search has used up its hours of slots
cancelled      trial, reason: the operator stops this one
retried        trial, epoch: this FAILED one runs again from after ``epoch``; an ended sweep goes on
=============  ========================================================================================

Decisions follow the external event that caused them, in the same append:

=============  ========================================================================================
asked          trial, number (of its search), stage ("search" | "confirm"), arm ("search" where the sweep has
               none), replicate, seed, params, spec, spec_hash
               (spec and spec_hash are null where the drawn parameters make no valid trial),
               duplicate_of (the trial whose result it shares instead of being run, unless that one FAILED)
               or null,
               parent (the trial from whose weights it goes on) or null,
               checkpoint (the parent's: epoch, path, digest, fence) or null
started        trial, slot, fence
paused         trial, epoch: it is checkpointed, has left its slot and waits for the rest of its generation,
               or at a rung until it is among the best there (it goes on when it is started again)
stopped        trial, epoch, rung, value, cutoff, seen (values at the rung so far, this one included), reason
finished       trial, state (COMPLETE | PRUNED | COLLAPSED | FAILED), reason, epochs, metrics (the last of
               each name)
closed         arm, replicate, by ("epochs" | "exhausted" | "converged" | "hours" | "gpu_hours" |
               "arm_hours" | "operator"), reason: this search asks no more
chosen         arm, replicate, trial, value, params, spec, spec_hash, states: {state: number of its trials},
               front: the trials on the Pareto front ([] with one objective)
declared       arms, seeds (of the first replicate), replicates, comparisons ([arm, against which]), metric,
               mode, looks ([{seeds, alpha}]), margin, impossible: {arm: reason}, digest (of all this and of
               the arms' specs): what will be confirmed and how it will be judged, before its first trial
looked         look (from 1), seeds, alpha, comparisons ({"arm - other": {mean, p, p_holm, p_equivalent,
               settled}}), stop: the comparisons after so many seeds; after a stop nothing more is confirmed
ended          reason ("" where everything planned was done), states: {state: number of all trials}
=============  ========================================================================================

A trial restarted after a crash reports some epochs again; the later report of an epoch replaces the earlier.
A sweep that ended goes on if a trial is retried or its budget is raised; it then ends, and may choose, again.
Every record also carries ``sequence`` (from 0), ``time`` (Unix seconds, when it was written; nothing is ever
decided by it) and, on disk only, ``crc``.
"""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]

EXTERNAL = frozenset(
    {
        "opened", "resumed", "wanted", "reported", "checkpointed", "outcome", "abandoned", "halted", "spent",
        "cancelled", "retried",
    }
)  # fmt: skip
DECISIONS = frozenset(
    {"asked", "started", "paused", "stopped", "finished", "closed", "chosen", "declared", "looked", "ended"}
)
LEFT_ITS_SLOT = frozenset({"finished", "paused", "abandoned"})  # after which a trial holds no slot
