"""Made-up lines of the record of what is served, and a reference that they are drawn like."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from ich_pipeline.precedent.model import NAMES
from ich_pipeline.watch.measurements import Measurements, of_served
from ich_pipeline.watch.record import Served

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("any", "subdural")


def line(number: int, case: str = "", **changes: object) -> Served:
    """One line, with a patient of its own."""
    values: dict = {
        "time": (BEGIN + timedelta(hours=number)).isoformat(timespec="seconds"),
        "by": "predict",
        "model": "ich-ensemble",
        "version": 1,
        "case": case or f"case{number}",
        "patient": f"patient{number}",
        "accession": "",
        "outcome": "not suspected",
        "scores": dict.fromkeys(LABELS, 0.1),
        "called": dict.fromkeys(LABELS, False),
        "measured": dict.fromkeys(NAMES, 0.0),
        "reasons": {"used": 30, "localizer": 2},
        "slices": 30,
        "thickness_mm": 5.0,
        "kernel": "soft",
        "manufacturer": "Siemens",
    }
    return Served(**{**values, **changes})


def lines(
    count: int, seed: int, shift: float = 0.0, prevalence: float = 0.2, labels: tuple[str, ...] = LABELS
) -> list[Served]:
    """Cases of one kind.

    Args:
        count: how many.
        seed: of the draw.
        shift: of the measurement ``brain_median``, in standard deviations.
        prevalence: of suspected cases.
        labels: of the scores.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        bleeds = bool(rng.uniform() < prevalence)
        measured = {name: float(rng.normal()) for name in NAMES}
        measured["brain_median"] += shift
        found.append(
            line(
                number,
                outcome="suspected" if bleeds else "not suspected",
                scores={name: float(rng.beta(8, 2) if bleeds else rng.beta(2, 8)) for name in labels},
                called=dict.fromkeys(labels, bleeds),
                measured=measured,
                manufacturer=str(rng.choice(["Siemens", "GE"])),
            )
        )
    return found


def reference(count: int = 200, seed: int = 1000) -> Measurements:
    """Of cases of that kind."""
    return of_served(lines(count, seed))
