"""The report of one sweep, put together: question, answer, and the evidence in a sceptical reader's order."""

from __future__ import annotations

from pathlib import Path

from ablate.ledger import Event
from ablate.report.content.answer import answer
from ablate.report.content.failures import failures
from ablate.report.content.material import Material, material_of
from ablate.report.content.method import method
from ablate.report.content.parameters import parameters
from ablate.report.content.provenance import facts, provenance
from ablate.report.content.runs import runs
from ablate.report.content.search import searches
from ablate.report.content.stopping import stopping
from ablate.report.content.unsettled import unsettled
from ablate.report.content.verdicts import verdicts
from ablate.report.content.why import why
from ablate.report.document.blocks import Document


def report_of(folder: Path, events: list[Event]) -> Document:
    """What there is to say about the sweep in ``folder`` whose ledger has ``events``, ended or not.

    Equal events and artifacts give equal documents. Raises ValueError if the events are not the record of a
    sweep, and pydantic's ValidationError for one that another version of the product recorded.
    """
    return document_of(material_of(folder, events))


def document_of(m: Material) -> Document:
    """The same of a sweep that has been read."""
    return Document(
        title=m.name,
        question=" ".join(m.sweep.question.split()),
        answer=answer(m),
        sections=(
            verdicts(m),
            searches(m),
            stopping(m),
            parameters(m),
            *why(m),
            unsettled(m),
            failures(m),
            runs(m),
            provenance(m),
            method(m),
        ),
        facts=facts(m),
    )
