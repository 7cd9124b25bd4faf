"""Where all of it comes from: digests, versions, machines, data, and the commands that repeat it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ablate.report.content.material import Material
from ablate.report.content.tracked import without_user
from ablate.report.content.wording import plural
from ablate.report.document.blocks import Block, Cell, Code, Folded, Paragraph, Section, bullets, table
from ablate.report.trials import ending
from ablate.report.words import listed
from ablate.spec.identity import spec_hash
from ablate.spec.yaml_file import dump_yaml

Identity = Mapping[str, Any]  # of identity.json


def provenance(m: Material) -> Section:
    """A table of facts, what was not the same in all runs, and how to repeat them."""
    identities = _identities(m)
    caption = "What the numbers of this report depend on; of runs, as they recorded it."
    facts = table("provenance-table", caption, ("what", "value"), _facts(m, identities))
    blocks: list[Block] = [facts]
    if mixed := list(_mixed(identities)):
        blocks.append(bullets(mixed))
    blocks += [Paragraph("To repeat it, beside the folder `runs`:"), Code(_commands(m), "sh")]
    blocks.append(Folded("The file that was run, with every default", (Code(_file(m), "yaml"),)))
    return Section("provenance", "Provenance", tuple(blocks))


def facts(m: Material) -> tuple[tuple[str, str], ...]:
    """The short ones, for the head of the page."""
    done = sum(record.finished for record in m.records.values())
    state = "has not ended" if m.summary.ended is None else "has ended"
    found = [
        ("sweep", f"{m.name}, which {state}"),
        ("runs", f"{done} of {len(m.records)} finished" if done < len(m.records) else str(done)),
        ("began", _day(m.events[0]["time"])),
        ("ledger", m.digest[:16]),
    ]
    claims = m.summary.claims
    return (*found, *([("declared", claims.digest[:16])] if claims and claims.digest else []))


def _facts(m: Material, identities: Mapping[str, Identity]) -> Iterator[tuple[str, str | Cell]]:
    yield "ledger", f"SHA-256 {m.digest} over {len(m.events)} records"
    yield "file", f"digest {spec_hash(m.sweep)} of the resolved sweep"
    yield "began", _moment(m.events[0]["time"])
    yield "last record", _moment(m.events[-1]["time"])
    end = ending(m.events)
    yield "ended", "not yet" if end is None else end["reason"] or "when everything planned was done"
    yield "driver", _made_by(m)
    for name, key in (("code of the trials", "code"), ("data", "data"), ("device", "device")):
        yield name, _each(identities, lambda found, key=key: found.get(key))
    if any((found.get("timing") or {}).get("cpu") for found in identities.values()):
        yield "model of the CPUs", _each(identities, lambda found: (found.get("timing") or {}).get("cpu"))
    yield "CPU threads of a worker", _each(identities, lambda found: found.get("threads"))
    yield "workers of a trial", _each(identities, lambda found: found.get("workers"))
    yield "libraries", _each(identities, _libraries)
    resources = m.sweep.resources
    share = f", {resources.gpus} GPUs" if resources.gpus else ""
    yield "slots", f"{plural(resources.slots, 'trial')} at a time, {resources.cpus} CPUs each worker{share}"
    yield "source of the images", m.sweep.base.data.kind
    if m.tracked is not None:
        yield "MLflow", Cell(f"{m.tracked.site}, run {m.tracked.parent}", m.tracked.sweep)


def _identities(m: Material) -> dict[str, Identity]:
    """By trial, of those that left one."""
    found: dict[str, Identity] = {}
    for trial in m.rows:
        try:
            tree = json.loads((m.folder / "trials" / trial / "identity.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(tree, dict):
            found[trial] = tree
    return found


def _each(identities: Mapping[str, Identity], of: Any) -> str:
    """The one value of all runs; of several each with the number of runs that have it."""
    values = Counter(str(value) for found in identities.values() if (value := of(found)) is not None)
    if not values:
        return "not recorded: no finished trial has an `identity.json`"
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} ({plural(count, 'run')})" for value, count in sorted(values.items()))


def _libraries(found: Identity) -> str | None:
    libraries = found.get("libraries")
    if not isinstance(libraries, dict):
        return None
    return ", ".join(f"{name} {version}" for name, version in sorted(libraries.items()))


def _mixed(identities: Mapping[str, Identity]) -> Iterator[str]:
    """What makes runs of one sweep differ beyond their specs."""
    for what, key in (
        ("code", "code"),
        ("data", "data"),
        ("device", "device"),
        ("number of threads", "threads"),
    ):
        by_value: dict[str, list[str]] = {}
        for trial, found in identities.items():
            by_value.setdefault(str(found.get(key)), []).append(trial)
        if len(by_value) > 1:
            fewest = min(by_value.values(), key=len)
            yield (
                f"Not all runs had the same {what}: {listed(fewest)} differ from the others. Differences "
                "between arms may be due to it."
            )


def _made_by(m: Material) -> str:
    """The code and sampler library of every driver that worked on it."""
    found = [e.get("made_by") or {} for e in m.events if e["event"] in ("opened", "resumed")]
    texts = (", ".join(f"{name} {value}" for name, value in sorted(made.items())) for made in found)
    return "; then ".join(dict.fromkeys(filter(None, texts))) or "not recorded"


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _commands(m: Material) -> str:
    trial = next((t for t, row in m.rows.items() if row["state"] == "COMPLETE"), "TRIAL")
    lines = [
        f"sha256sum runs/{m.name}/ledger.jsonl",
        f"ablate verdict {m.name}                                  # the verdicts, from the ledger",
        f"ablate report {m.name}                                   # this report, byte for byte",
        f"ablate train runs/{m.name}/trials/{trial}/spec.json      # one trial",
        f"ablate sweep runs/{m.name}/sweep.json --runs again       # all of it",
    ]
    return "\n".join(lines)


def _file(m: Material) -> str:
    tree = m.sweep.as_dict()
    if uri := tree["tracking"]["uri"]:
        tree["tracking"]["uri"] = without_user(uri)
    return dump_yaml(tree).rstrip("\n")
