"""The vocabulary of the ledger. An event is a plain dictionary whose ``event`` key is one of these names.

External events are what the world did. They are the only input of the search's ``decide``:

=============  ========================================================================================
opened         sweep (resolved), fence, made_by (digest of the code, version of the sampler library);
               always the first record, which also carries ``version``, the format of the ledger
resumed        fence, made_by, epochs: {unfinished trial: epoch it restarts after (0: from its beginning)}
wanted         slot: asked for work and got some (asking in vain leaves no record)
reported       trial, epoch, metrics
checkpointed   trial, epoch, path (relative to the sweep's folder if inside it), digest, fence
outcome        trial, state, reason, metrics: how a slot says its trial ended
abandoned      trial, reason, epoch: its slot died; it restarts after ``epoch``
=============  ========================================================================================

Decisions follow the external event that caused them, in the same append:

=============  ========================================================================================
asked          trial, number, stage ("search" | "confirm"), arm, seed, params, spec, spec_hash
               (spec and spec_hash are null where the drawn parameters make no valid trial)
started        trial, slot, fence
stopped        trial, epoch, rung, value, cutoff, seen (values at the rung so far, this one included), reason
finished       trial, state (COMPLETE | PRUNED | COLLAPSED | FAILED), reason, epochs, metrics (the last of
               each name)
chosen         trial, value, params, spec, spec_hash, arms, seeds, impossible: {arm: reason},
               states: {state: number of search trials}
ended          reason ("" where everything planned was done), states: {state: number of all trials}
=============  ========================================================================================

A trial restarted after a crash reports some epochs again; the later report of an epoch replaces the earlier.
Every record also carries ``sequence`` (from 0), ``time`` (Unix seconds, when it was written; nothing is ever
decided by it) and, on disk only, ``crc``.
"""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]

EXTERNAL = frozenset({"opened", "resumed", "wanted", "reported", "checkpointed", "outcome", "abandoned"})
DECISIONS = frozenset({"asked", "started", "stopped", "finished", "chosen", "ended"})
