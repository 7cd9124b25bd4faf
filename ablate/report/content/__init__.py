"""What the report of a sweep says; one topic a file.

``material`` is a sweep read once. ``answer`` comes first; then the evidence in the order in which a sceptical
reader asks for it: ``verdicts``; what the searches had and did (``search``, ``stopping``, ``parameters``);
``why``, of ``spectra``, ``scientific``, ``sparsity``, ``gradients``, ``layers`` and ``diagnoses``; then
``unsettled``, ``failures``, ``runs``, ``provenance`` and ``method``. ``document`` puts them together and
``write`` makes files of it.
"""

from ablate.report.content.document import report_of
from ablate.report.content.write import write_report

__all__ = ["report_of", "write_report"]
