"""The analysis in words and tables, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from ablate.report.analysis.best_so_far import BestSoFar, Course
from ablate.report.analysis.boundaries import Saturation
from ablate.report.analysis.dead import Relation
from ablate.report.analysis.importance import Importance, Share
from ablate.report.analysis.stopping_audit import THRESHOLDS, ArmAudit, Rate, RungTau
from ablate.report.analysis.whole import Analysis
from ablate.report.page import rich_table
from ablate.report.words import Rows, markdown_table

_QUARTERS = (0.25, 0.5, 0.75, 1.0)
_ENDS_SHOWN = 8


@dataclass(frozen=True)
class Section:
    """A title, tables, the text of a file if there is one, and lines that say how to read them."""

    title: str
    tables: tuple[Rows, ...]
    lines: tuple[str, ...]
    file: str = ""


def sections(a: Analysis) -> tuple[Section, ...]:
    """Everything there is to say, in order."""
    return (_best(a), _expected(a), _importance(a), _boundaries(a), _relations(a), _patch(a), _audit(a))


def markdown(a: Analysis) -> str:
    """The whole analysis as Markdown."""
    lines = [f"# {a.name}: analysis of the search", "", " ".join(a.question.split()), ""]
    lines += [f"- {line}" for line in _head(a)]
    for section in sections(a):
        lines += ["", f"## {section.title}"]
        for table in section.tables:
            lines += ["", *markdown_table(*table)]
        if section.file:
            lines += ["", "```yaml", section.file.rstrip("\n"), "```"]
        lines += ["", *(f"- {line}" for line in section.lines)] if section.lines else []
    return "\n".join(lines) + "\n"


def show(a: Analysis, console: Console) -> None:
    """Print it."""
    console.print(Text.assemble((a.name, "bold"), f"  {' '.join(a.question.split())}"))
    for line in _head(a):
        console.print(f"  {line}", highlight=False, markup=False)
    for section in sections(a):
        console.print()
        show_section(section, console)


def show_section(section: Section, console: Console) -> None:
    """Print one section."""
    console.print(Text(section.title, style="bold"))
    for table in section.tables:
        console.print(rich_table(*table))
    if section.file:
        console.print(section.file.rstrip("\n"), highlight=False, markup=False, soft_wrap=True)
    for line in section.lines:
        console.print(f"  {line}", style="dim", highlight=False, markup=False)


def _head(a: Analysis) -> list[str]:
    lines = [f"{arm}: {words}." for arm, words in a.trials.items()]
    if not a.ended:
        lines.append("The sweep has not ended: these are the trials so far.")
    if a.tradeoffs:
        lines.append(f"Of the objectives only the first is looked at, not {', '.join(a.tradeoffs)}.")
    return [*lines, f"All numbers are {a.metric} ({a.mode}) of search trials, on validation, and no result."]


def _best(a: Analysis) -> Section:
    several = len({b.replicate for b in a.best}) > 1
    rows = []
    for b in a.best:
        name = f"{b.arm} #{b.replicate}" if several else b.arm
        for course, unit in ((b.by_trials, "trials"), (b.by_epochs, "epochs")):
            rows.append([name, f"{course.budget[-1]} {unit}", *(_at(course, q) for q in _QUARTERS)])
    head = ["search", "budget", *(f"{q:.0%}" for q in _QUARTERS)]
    return Section("Best so far against budget", ((head, rows),), tuple(_standings(a.best)))


def _standings(best: Sequence[BestSoFar]) -> list[str]:
    meaning = {
        "exact": "the luck of the draw, from these trials",
        "near": "about the luck of the draw, from these trials; somewhat too wide",
        "descriptive": "descriptive: what these trials would have shown in another order, no more",
    }
    found = dict.fromkeys((b.standing, b.why) for b in best)
    lines = [f"Bands (95%): {meaning[standing]} ({why})." for standing, why in found]
    return [*lines, "None can reach above the best that was seen; another search may."]


def _at(course: Course, share: float) -> str:
    budget = share * course.budget[-1]
    place = max((i for i, b in enumerate(course.budget) if b <= budget), default=0)
    low, high = _number(course.low[place]), _number(course.high[place])
    return f"{_number(course.best[place])} [{low}, {high}]"


def _expected(a: Analysis) -> Section:
    rows = [
        [e.arm, str(e.trials), str(k), f"{mean:.4f} [{low:.4f}, {high:.4f}]"]
        for e in a.expected.expected
        for k, mean, low, high in zip(e.k, e.expected, e.low, e.high, strict=True)
    ]
    tables: list[Rows] = [(["arm", "random trials", "k", "expected best of k"], rows)] if rows else []
    if a.expected.differences:
        differences = [
            [d.arm, d.against, str(d.k), f"{d.difference:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"]
            for d in a.expected.differences
        ]
        tables.append((["arm", "minus", "k", "difference (above 0: better)"], differences))
    lines = [f"Not given for {why}." for why in a.expected.refused]
    if rows:
        lines.append(
            "Approximate (resampled from one pool of random trials an arm), on validation, and optimistic "
            "(the best of several noisy scores). The verdict is the confirmation's."
        )
    if any(d.paired for d in a.expected.differences):
        lines.append("Both arms drew the same parameters trial by trial, and were resampled together.")
    return Section("Expected best of k random trials", tuple(tables), tuple(lines))


def _importance(a: Analysis) -> Section:
    rows = [
        [i.arm, i.method, s.key, f"{s.share:.0%}", f"{s.rank:g} {_ranks(s)}", f"{s.trials} of {i.trials}"]
        for i in a.importance
        for s in i.shares
    ]
    head = ["arm", "method", "parameter", "importance", "rank [95%]", "trials"]
    lines = []
    for i in a.importance:
        lines += [f"Not given for {i.arm}: {i.refused}."] if i.refused else []
        lines += [f"{i.arm}, {_method(i)}: {'; '.join(i.notes)}."] if i.notes else []
    if rows:
        lines.append("Ranks whose intervals overlap widely are not in a known order.")
    return Section("Importance of parameters", ((head, rows),) if rows else (), tuple(lines))


def _method(i: Importance) -> str:
    return i.method if i.top is None else f"{i.method} for being among the best {i.top:.0%}"


def _ranks(s: Share) -> str:
    return f"[{s.rank_low:g}, {s.rank_high:g}]"


def _boundaries(a: Analysis) -> Section:
    ends = sorted(a.boundaries.ends, key=lambda s: (not s.pressed, s.p_adjusted))
    shown = [s for s in ends if s.pressed] or ends[:3]
    shown = shown[:_ENDS_SHOWN]
    rows = [_end_row(s) for s in shown]
    head = ["arm", "parameter", "end", "best quarter there", "by even draws", "p", "corrected", ""]
    count = sum(s.pressed for s in ends)
    lines = (
        [f"{count} of {len(ends)} ends of ranges are pressed; shown are the {len(rows)} clearest."]
        if ends
        else []
    )
    if any(not s.even for s in ends):
        lines.append(
            "p is descriptive where the sampler learns: trials gather where they are good; p is too small."
        )
    lines += [f"Not looked at: {why}." for why in a.boundaries.refused]
    return Section("Ends of ranges", ((head, rows),) if rows else (), tuple(lines))


def _end_row(s: Saturation) -> list[str]:
    return [
        s.arm,
        s.key,
        f"{s.end} ({s.value:g})",
        f"{s.outer} of {s.best}",
        f"{s.expected * s.best:.1f}",
        f"{s.p:.2g}",
        f"{s.p_adjusted:.2g}",
        "pressed" if s.pressed else "",
    ]


def _relations(a: Analysis) -> Section:
    rows = [_relation_row(r) for r in a.relations.found]
    head = ["arm", "parameter", "at", "trials", "explains", "at most (95%)", "p", ""]
    lines = []
    if rows:
        lines.append(
            "unseen: no relation was seen, but one as large as the bound may be there. dead: it explains "
            "less than a tenth of the differences between trials. p and bounds are not corrected."
        )
    if any(not r.even for r in a.relations.found):
        lines.append("A sampler that learns gives no random sample: what it settled on early looks dead.")
    lines += [f"Not looked at: {why}." for why in a.relations.refused]
    return Section("Relation of parameters with the objective", ((head, rows),) if rows else (), tuple(lines))


def _relation_row(r: Relation) -> list[str]:
    bound = "-" if r.bound is None else f"{r.bound:.0%}"
    return [r.arm, r.key, r.at, str(r.trials), f"{r.explained:.0%}", bound, f"{r.p:.2g}", r.word]


def _patch(a: Analysis) -> Section:
    lines = [f"Not proposed: {why}." for why in a.patch.refused]
    if not a.patch.text:
        return Section("Change to make", (), ("Nothing to change was found.", *lines))
    how = "It loads, as was checked. Save it beside the sweep's file, with that one's name after `extends`."
    return Section("Change to make", (), (how, *lines), a.patch.text)


def _audit(a: Analysis) -> Section:
    if not a.stops_early:
        return Section("Early stopping", (), ("No trial could be stopped early: there is nothing to audit.",))
    return audit_section(a.audit, a.name)


def audit_section(audits: Sequence[ArmAudit], name: str) -> Section:
    """What is known of the early stopping in the sweep ``name``."""
    lines: list[str] = []
    tables: list[Rows] = []
    rates = [_rate_row(arm) for arm in audits if arm.rates is not None]
    if rates:
        tables.append((["arm", "audited", *(f"above the {name}" for name in THRESHOLDS), "regret"], rates))
        lines.append(
            "Stopped trials that end above the worst (cut-off), the median and the best of the completed "
            "ones of their search, with Wilson 95% intervals; above the median is a false kill. Regret: how "
            "far the best of them lies above the best completed one."
        )
    taus = [_tau_row(arm.arm, tau) for arm in audits for tau in arm.taus]
    if taus:
        tables.append((["arm", "epoch", "trials", "Kendall tau with the end"], taus))
        lines.append("Completed trials were let through by the rungs: without audited ones tau is too small.")
    lines += [line for arm in audits for line in _audit_lines(arm, name)]
    return Section("Early stopping", tuple(tables), tuple(lines))


def _rate_row(arm: ArmAudit) -> list[str]:
    assert arm.rates is not None
    assert arm.regret is not None
    shown = [_rate(arm.rates[name]) for name in THRESHOLDS]
    return [arm.arm, f"{len(arm.audited)} of {arm.stopped}", *shown, f"{arm.regret:.4f}"]


def _rate(rate: Rate) -> str:
    return f"{rate.count}/{rate.trials} [{rate.low:.0%}, {rate.high:.0%}]"


def _tau_row(arm: str, tau: RungTau) -> list[str]:
    interval = "" if tau.low is None or tau.high is None else f" [{tau.low:+.2f}, {tau.high:+.2f}]"
    return [arm, str(tau.rung), f"{tau.trials} ({tau.audited} audited)", f"{tau.tau:+.2f}{interval}"]


def _audit_lines(arm: ArmAudit, name: str) -> list[str]:
    lines = []
    if arm.stopped and not arm.audited:
        lines.append(
            f"{arm.arm}: none of {arm.stopped} stopped trials was run to its end; `ablate audit {name}` does."
        )
    if arm.audited and arm.rates is None:
        lines.append(f"{arm.arm}: no trial was completed to compare the audited ones with.")
    if other := [t for t in arm.audited if not t.same]:
        furthest = max(t.furthest for t in other)
        lines.append(
            f"{arm.arm}: {len(other)} of {len(arm.audited)} re-runs did not repeat the ledger's numbers up "
            f"to where they were stopped (objective off by up to {furthest:.2g}): another machine, number of "
            "threads or version of the code. They say what such a trial comes to, not that very one."
        )
    elif arm.audited:
        lines.append(
            f"{arm.arm}: all re-runs repeat the ledger's numbers bit for bit up to where they were stopped."
        )
    lines += [f"{arm.arm}: the re-run of {trial} failed and is not counted." for trial in arm.failed]
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
