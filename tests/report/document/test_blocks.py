"""What a document is made of, and finding it again."""

from __future__ import annotations

from ablate.report.document.blocks import Figure, Folded, Table, every
from tests.report.document.made_document import document


def test_blocks_are_found_wherever_they_are() -> None:
    made = document()
    assert [t.id for t in every(made, Table)][:3] == ["verdicts", "layers", "folded"]
    assert any(isinstance(block, Folded) for section in made.sections for block in section.blocks)
    assert all(isinstance(figure, Figure) for figure in every(made, Figure))
    assert len({figure.id for figure in every(made, Figure)}) > 1
