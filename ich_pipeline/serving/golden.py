"""What a version answered to its example when it was registered: whoever serves it compares, before it answers for patients.

A file that came over whole can still be read otherwise: by another ONNX Runtime, on another processor, by a library that decodes or
resizes in its own way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_versioned
from ich_pipeline.explain.case import ExplainedCase
from ich_pipeline.explain.sentence import case_sentence

FILE, SCHEMA = "golden.json", "golden/1"
TOLERANCE = 1e-4  # of a probability; ONNX Runtime and Keras agree within 1e-5 when a network is exported
SCORES = ("first", "second", "final", "case_scores")


def golden(case: ExplainedCase) -> dict[str, Any]:
    """The answer to keep, as JSON values: the sentence, and every score (null for NaN)."""
    scores = {name: _listed(getattr(case, name)) for name in SCORES}
    return {"schema": SCHEMA, "sentence": case_sentence(case), **scores}


def check_golden(case: ExplainedCase, path: Path) -> None:
    """Compare the answer with the one that was kept; a version from before there was one is not compared.

    Args:
        case: the example, as it is read now.
        path: ``golden.json``.

    Raises:
        InputError: the sentence is another, or a score is off by more than :data:`TOLERANCE`.
    """
    if not path.exists():
        return
    known, now = read_versioned(path, SCHEMA, "register the version anew"), golden(case)
    for name in SCORES:
        before, found = (np.array(one[name], np.float64) for one in (known, now))
        alike = before.shape == found.shape and np.array_equal(np.isnan(before), np.isnan(found))
        if not alike or not np.allclose(before, found, rtol=0, atol=TOLERANCE, equal_nan=True):
            by = f" by {np.nanmax(np.abs(before - found)):.2g}" if alike else ""
            raise InputError(
                f"it answers its example otherwise than when it was registered ({name.replace('_', ' ')} differ{by}): "
                "its libraries or this machine read it differently; compare `pip freeze` with its requirements.txt"
            )
    if known["sentence"] != now["sentence"]:
        raise InputError(
            f"it says of its example {now['sentence']!r}, and said {known['sentence']!r} when it was registered"
        )


def _listed(scores: Any) -> Any:
    rounded = np.round(np.asarray(scores, np.float64), 7)
    return np.where(np.isnan(rounded), None, rounded).tolist()  # type: ignore[call-overload]
