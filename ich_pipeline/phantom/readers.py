"""Simulated readers of the synthetic cohort: no person read it. Their names say so wherever their figures stand."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ich_pipeline.phantom.draw import Draw
from ich_pipeline.phantom.study import PatientPlan, study_uid_of
from ich_pipeline.tables.reader_tables import SIMULATED

# Name, sensitivity and specificity for "any" in a case. Chosen by us, of no measured reader.
READERS = (
    (f"{SIMULATED} A", 0.95, 0.85),
    (f"{SIMULATED} B", 0.88, 0.94),
    (f"{SIMULATED} C", 0.78, 0.98),
)


def readers_csv(plans: Sequence[PatientPlan]) -> str:
    """``data/readers.csv``: each reader's decision on each case, right with the reader's own chance and by nothing else."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["reader", "case", "decision"])
    for name, sensitivity, specificity in READERS:
        for plan in plans:
            bleeds = bool(plan.kinds)
            right = Draw("reader", plan.seed, name, plan.number).chance(sensitivity if bleeds else specificity)
            writer.writerow([name, study_uid_of(plan), int(bleeds == right)])
    return text.getvalue()
