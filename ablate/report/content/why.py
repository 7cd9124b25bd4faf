"""Why: what the trained representations look like, as far as it was measured, and what was not measured."""

from __future__ import annotations

from collections.abc import Iterator

from ablate.report.content.diagnoses import diagnoses, not_measured
from ablate.report.content.evidence import whose
from ablate.report.content.gradients import gradients
from ablate.report.content.layers import layers
from ablate.report.content.material import Material
from ablate.report.content.scientific import scientific
from ablate.report.content.sparsity import sparsity
from ablate.report.content.spectra import spectra
from ablate.report.document.blocks import Block, Paragraph, Section, bullets

_TOPICS = (spectra, scientific, sparsity, gradients, layers)


def why(m: Material) -> Iterator[Section]:
    """What this part can show and what was not measured; then a section for each topic that was."""
    if not m.completed(m.shown):
        text = "No trial was completed, so that no representation was looked into."
        yield Section("why", "Why", (Paragraph(text),))
        return
    found = [topic(m) for topic in _TOPICS]
    missing = [each for each in found if isinstance(each, str)] + not_measured(m)
    text = (
        f"This part is of {whose(m)}: what the trained representations look like. Nothing here is tested, "
        "and what goes with a difference in accuracy need not be its cause."
    )
    yield Section("why", "Why: what was looked into", (Paragraph(text), *_not_looked_into(missing)))
    yield from (each for each in found if isinstance(each, Section))
    yield diagnoses(m)


def _not_looked_into(missing: list[str]) -> Iterator[Block]:
    if missing:
        yield Paragraph("What was not, and the key of the file that measures it:")
        yield bullets(missing)
