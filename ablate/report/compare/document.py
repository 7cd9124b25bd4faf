"""A comparison of sweeps as a document: what may be said first, then what it comes from."""

from __future__ import annotations

from collections.abc import Iterator

from ablate.report.compare import drawn, tables
from ablate.report.compare.differences import Difference
from ablate.report.compare.whole import Compared, Pair
from ablate.report.compare.wording import (
    NO_VERDICT,
    control_check,
    ground,
    number,
    sentence,
    settings_by_part,
    settings_in_short,
    stopped_early,
    summary_of_origins,
    turned,
    unfinished,
)
from ablate.report.document.blocks import (
    Block,
    Bullets,
    Code,
    Document,
    Folded,
    Item,
    Paragraph,
    Section,
    bullets,
)
from ablate.report.words import interval_text
from ablate.spec.yaml_file import dump_yaml

_ROOM = 59  # of the 64 characters of a name


def document_of(compared: Compared) -> Document:
    """Everything there is to say. Equal ledgers and artifacts give equal documents."""
    sections = [
        Section("sweeps", "The sweeps", (tables.sweeps(compared),)),
        _settings(compared),
        _arms(compared),
        _verdicts(compared),
        *(_differences(pair) for pair in compared.pairs if pair.scores or pair.gains),
        _over_data(compared),
        _timing(compared),
        _next(compared),
        Section("runs", "The runs", tuple(_runs(compared))),
    ]
    questions = dict.fromkeys(" ".join(side.spec.question.split()) for side in compared.sides)
    names = " against ".join(side.label for side in compared.sides)
    return Document(
        title=f"{names}: comparison",
        question=next(iter(questions)) if len(questions) == 1 else f"How do these sweeps compare: {names}?",
        answer=(Bullets(tuple(_answer(compared))),),
        sections=tuple(section for section in sections if section.blocks),
        facts=_facts(compared),
    )


def _facts(compared: Compared) -> tuple[tuple[str, str], ...]:
    sweeps = tuple((f"sweep {side.letter}", side.label) for side in compared.sides)
    return (*sweeps, ("metric", f"{compared.metric} ({compared.sides[0].metric[1]})"))


def _answer(compared: Compared) -> Iterator[Item]:
    for pair in compared.pairs:
        arms = [d for d in (*pair.scores, *pair.gains) if not _is_control(pair, d)]
        yield Item(ground(compared, pair), tuple(map(sentence, arms)))
        yield from (Item(text) for text in control_check(pair))
    if any(pair.scores or pair.gains for pair in compared.pairs):
        yield Item(NO_VERDICT)
        yield from (Item(text) for text in turned(compared.sides[0]))
    yield from (Item(text) for text in _verdicts_in_words(compared))
    if compared.aggregates is not None and compared.aggregates.improvements:
        yield Item(
            f"Over the {len(compared.aggregates.sides)} data sets together, P(better):",
            tuple(
                f"{each.arm} over {each.against}: {number(each.probability, 3)} "
                f"{interval_text(each.interval, sign=False)}"
                for each in compared.aggregates.improvements
            ),
        )
    more = (
        *summary_of_origins(compared.origins),
        *stopped_early(compared.sides),
        *unfinished(compared.sides),
    )
    yield from (Item(text) for text in (settings_in_short(compared.settings), *more))


def _is_control(pair: Pair, d: Difference) -> bool:
    return d.arms[0] in (*pair.reference.controls, *pair.other.controls)


def _verdicts_in_words(compared: Compared) -> list[str]:
    """One line a comparison that two sweeps or more declared, with the word of each."""
    words: dict[str, list[str]] = {}
    for side in compared.sides:
        for v in side.claims.verdicts if side.claims is not None else ():
            words.setdefault(f"{v.comparison.arm} - {v.comparison.against}", []).append(
                f"{v.word} in {side.letter}"
            )
    return [f"Each sweep's own verdict on {name}: {', '.join(w)}." for name, w in words.items() if len(w) > 1]


def _runs(compared: Compared) -> Iterator[Block]:
    for side in compared.sides:
        if found := tuple(tables.runs(side)):
            yield Folded(side.name, found)


def _settings(compared: Compared) -> Section:
    by_part = settings_by_part(compared.settings)
    blocks: list[Block] = [bullets(by_part or [settings_in_short(compared.settings)])]
    blocks += [tables.settings(compared)] if compared.settings else []
    if any(side.made for side in compared.sides):
        blocks.append(tables.origins(compared))
    return Section("settings", "What differs", tuple(blocks))


def _arms(compared: Compared) -> Section:
    chosen, budgets = tables.chosen(compared), tables.budgets(compared)
    return Section("arms", "What was searched and chosen", tuple(t for t in (chosen, budgets) if t.rows))


def _verdicts(compared: Compared) -> Section:
    if all(side.claims is None for side in compared.sides):
        return Section("verdicts", "Verdicts side by side", ())
    blocks: list[Block] = [tables.scores(compared), tables.verdicts(compared), *drawn.verdicts(compared)]
    labels: dict[str, list[str]] = {}
    for side in compared.sides:
        for label in side.claims.labels if side.claims is not None else ():
            labels.setdefault(label, []).append(side.letter)
    lines = [
        "That one sweep established a difference and another did not says nothing about a difference between "
        "the sweeps: for that the gains themselves are compared, below.",
        *(f"{', '.join(letters)}: {label}" for label, letters in labels.items()),
    ]
    return Section("verdicts", "Verdicts side by side", (*blocks, bullets(lines)))


def _differences(pair: Pair) -> Section:
    a, b = pair.reference.letter, pair.other.letter
    blocks: list[Block] = [Paragraph(NO_VERDICT)]
    if pair.scores:
        caption = f"Arms of one name: the score in {b} minus that in {a}; larger is better for {b}."
        shown = [d for d in pair.scores if not _is_control(pair, d)]
        blocks.append(tables.differences(f"table-scores-{a}-{b}", caption, pair.scores, pair.other))
        title = f"Scores of shared arms, {b} - {a}"
        blocks += drawn.differences(
            f"figure-scores-{a}-{b}", title, f"score in {b} minus score in {a}", shown
        )
    if pair.gains:
        caption = f"What an arm gains over another: the gain in {b} minus the gain in {a}."
        blocks.append(tables.differences(f"table-gains-{a}-{b}", caption, pair.gains, pair.other))
        title = f"Gains of arms, {b} - {a}"
        blocks += drawn.differences(
            f"figure-gains-{a}-{b}", title, f"gain in {b} minus gain in {a}", pair.gains
        )
    blocks.append(bullets(_how(pair)))
    return Section(f"differences-{a}-{b}", f"{b} against {a}: exploration", tuple(blocks))


def _how(pair: Pair) -> list[str]:
    found = [d for d in (*pair.scores, *pair.gains) if not d.why_none]
    lines = []
    if any(d.paired for d in found):
        lines.append(
            "Pairs are trials with equal seeds: as far as the settings are equal they share the border of "
            "train and validation, initial weights, order and views. p is the sign-flip p over them, or that "
            "over units and images where it is larger."
        )
    if any(not d.paired for d in found):
        lines.append(
            "Unpaired: Welch's t interval over units; it holds for these test images only, and has no p."
        )
    return [
        *lines,
        *turned(pair.reference),
        *stopped_early((pair.reference, pair.other)),
        "Each sweep chose its configurations by searches of its own: a difference holds their luck, and "
        "everything that is set differently, together.",
    ]


def _over_data(compared: Compared) -> Section:
    found = compared.aggregates
    if found is None:
        return Section("data", "Over the data sets", ())
    blocks: list[Block] = []
    if found.arms:
        blocks += [tables.over_data(compared, found), *drawn.profiles(found, compared.metric)]
    if found.improvements:
        blocks.append(tables.improvements(found))
    lines = [f"Nothing is said of {why}." for why in found.refused]
    lines += [f"{note}." for note in found.notes]
    lines += ["A unit is a replicate: the mean over its seeds."] if found.unit == "replicate" else []
    used = ", ".join(f"{letter} ({compared.data[letter]})" for letter in found.sides)
    lines.append(
        f"One sweep for each data set: {used}. Accuracies are put together as they are, although chance "
        "differs with the number of classes. Data sets were not drawn: nothing is said of others."
    )
    kinds = [compared.side(letter).sweep["base"]["data"]["kind"] for letter in found.sides]
    if len(set(kinds)) < len(kinds):
        lines.append("Some of these are one source with other options: they are not independent data sets.")
    if found.arms and min(each.units for each in found.arms) < 10:
        lines.append("Below about ten units a data set these bootstrap intervals are too narrow.")
    return Section("data", "Over the data sets", (*blocks, bullets(lines)))


def _timing(compared: Compared) -> Section:
    found = compared.timing
    blocks: list[Block] = [tables.paces(compared, found)] if found.paces else []
    blocks += [bullets(found.notes)] if found.notes else []
    return Section("timing", "How fast they trained", tuple(blocks))


def _next(compared: Compared) -> Section:
    """What would turn the exploration into a claim."""
    blocks: list[Block] = []
    for pair in compared.pairs:
        a, b = pair.reference, pair.other
        if not pair.arms:
            blocks.append(
                Paragraph(f"{b.letter} against {a.letter}: no one sweep is proposed: {pair.why_no_arms}.")
            )
            continue
        blocks.append(
            Paragraph(
                f"{b.letter} against {a.letter}: one sweep that declares what sets them apart, and searches "
                f"each with the same budget, can say more. These arms were checked. Save it beside the file "
                f"of {a.label}, with that one's name after `extends`:"
            )
        )
        content = {
            "extends": f"{a.spec.name}.yaml",
            "name": f"{a.spec.name[:_ROOM]}-both",
            "arms": dict(pair.arms),
        }
        blocks.append(Code(dump_yaml(content), "yaml"))
    return Section("next", "What it would take to claim more", tuple(blocks))
