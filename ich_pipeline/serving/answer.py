"""A read case as JSON: the answer of the registered model, and ``predictions.json`` of ``ich predict``.

::

    {"case_id": "C…", "sentence": "Suspected: …", "verdict": "suspected", "decision": true | null, "no_answer": null | "why", "unlike": ["the noise in the brain", …],
     "likeness": {"limit": 2.9, "false_alarms": 0.05, "excess": {"grain": 1.3 | null, …}, "slice_limit": 2.1} | null,
     "scan_cautions": ["slices at … lie in another series and were not read"],
     "operating_point": {"name": "balanced", "threshold": 0.41, "gate": 0.12},
     "probabilities": {label: s | null},                  case scores, see below
     "uncertainty": {"coverage": 0.9, "statement": "Haemorrhage suspected: supported at 90 % coverage", "sets": {label: word | null},
                     "reasons": {label: why there is no set}, "disagreement": {label: d} | null,
                     "reason": why there is no disagreement | null} | null,
     "slices": [{"index": 0, "SOPInstanceUID": "…", "position_mm": -12.5, "reread": true,
                 "unlike": false | null, "excess": {"features": 0.4, "layout": 0.0} | null,
                 "first": {label: p}, "second": {label: p} | null, "final": {label: p},
                 "sets": {label: word | null}, "disagreement": {label: d} | null,
                 "attention": {label: {"method": "…", "map": [[0..1]] | null,
                                       "cells": {"first": [row, column], "step": [rows, columns]} | null}},
                 "basis": {subtype: [{"example": "S…", "case_id": "C…", "distance": d, "percentile": q | null,
                                      "compared_with": {"slices": n, "patients": m} | null,
                                      "truth": [subtype], "thumbnail": {"rows", "columns", "hu": base64}}]}}],
     "reasons": {subtype: why it has no prediction basis}}

Where the model has no answer for the input (``no_answer``: it was trained on synthetic heads, and this is not known to be one;
or the scan is ``unlike`` those of training),
``verdict`` says so, ``decision`` and every score are null, and sets, maps and prediction basis are not there. Asked for a
demonstration, they are, and ``verdict`` begins with ``no_answer``.
``likeness`` says how far the scan lies from the middle of the training scans, in their spreads (:mod:`ich_pipeline.precedent`): a scan with
an excess beyond ``limit`` is not read, as the share ``false_alarms`` of scans of the training kind are. An excess is null where the scan has
no such number; a number that nearly every training scan has and this one lacks is named in ``unlike``, unless ``limit`` is very wide.
A slice's ``excess`` is of its distance to the nearest training slices, in what the network sees and in what lies where, against slices of
held-out scans; one beyond ``slice_limit`` is ``unlike``.
It is null where the model has no answer for patients at all.
``probabilities`` are case scores: a rule over the slices' probabilities (such as the largest). They rank cases and are
compared with ``threshold``, but are no calibrated probabilities of the case; the key keeps its name for those who read it.
The slices' ``first``, ``second`` and ``final`` are calibrated wherever validation could calibrate the label.
``sets`` are conformal (:mod:`ich_pipeline.ensemble.conformal`): absent, present, undecided (both) or neither. A case's
holds the truth for ``coverage`` of new patients with, and of those without, the finding; a slice's for one slice drawn at
random from a patient's slices of its kind, not for all of them at once. ``disagreement`` is the standard deviation over the
ensemble's members. ``uncertainty`` is null where the model was registered before it had any.
``map`` has the rows and columns of the file that its slice came from, however the patient lay: the page alone turns pictures to the
standard view. ``cells`` says where the map's cells are centred, in pixels of the file (0 is the centre of the first pixel): the
first, and the step to the next. Some lie outside the file where the networks' square reaches beyond it. Of HU arrays they are
pixels of the array.
``attention`` and ``basis`` are there for the slices that the case page shows large, empty for the others.
``percentile`` is the share, in per cent, of ``compared_with`` whose own example of the same rank is at least as near: validation
slices in which the system named the finding, and was right. Both are null where validation has none.
``thumbnail.hu`` is little-endian int16, row by row.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any

from ich_pipeline.explain.atlas import BasisExample
from ich_pipeline.explain.case import AttentionMap, ExplainedCase
from ich_pipeline.explain.sentence import case_sentence, certain_sentence
from ich_pipeline.serving.file_pixels import ReadCase


def answer(case: ReadCase, *, uids: bool, thumbnails: bool) -> dict[str, Any]:
    """The case as JSON values.

    Args:
        case: read and explained.
        uids: with SOPInstanceUIDs, which lead back to the patient in a hospital's archive.
        thumbnails: with the pixels of the prediction basis.
    """
    return {
        "case_id": case.case_id,
        "sentence": case_sentence(case),
        "verdict": case.verdict,
        "decision": case.decision,
        "no_answer": case.no_answer or None,
        "unlike": list(case.unlike),
        "likeness": _likeness(case),
        "scan_cautions": list(case.scan_cautions),
        "operating_point": {"name": case.operating_point, "threshold": case.threshold, "gate": case.gate},
        "probabilities": _named(case, case.case_scores),
        "uncertainty": _uncertainty(case),
        "slices": [_slice(case, index, uids, thumbnails) for index in range(len(case.final))],
        "reasons": dict(case.reasons),
    }


def _slice(case: ReadCase, index: int, uids: bool, thumbnails: bool) -> dict[str, Any]:
    reread = bool(case.reread[index])
    return {
        "index": index,
        **({"SOPInstanceUID": case.sop_instance_uids[index]} if uids else {}),
        "position_mm": float(case.positions_mm[index]),
        "reread": reread,
        **_slice_likeness(case, index),
        "first": _named(case, case.first[index]),
        "second": _named(case, case.second[index]) if reread else None,
        "final": _named(case, case.final[index]),
        **_certainty(case, index),
        "attention": {label: _map(case, index, found) for label, found in case.attention.get(index, {}).items()},
        "basis": {
            label: [_example(one, thumbnails) for one in examples]
            for label, examples in case.basis.get(index, {}).items()
        },
    }


def _likeness(case: ExplainedCase) -> dict[str, Any] | None:
    found = case.judged
    if found is None:
        return None
    excess = {name: None if value is None else round(value, 3) for name, value in found.measured.items()}
    return {
        "limit": round(found.limit, 3),
        "false_alarms": round(found.false_alarms, 4),
        "excess": excess,
        "slice_limit": round(found.slices.limit, 3),
    }


def _slice_likeness(case: ExplainedCase, index: int) -> dict[str, Any]:
    found = case.judged and case.judged.slices
    if not found:
        return {"unlike": None, "excess": None}
    return {
        "unlike": index in found.unlike,
        "excess": {name: round(values[index], 3) for name, values in found.excess.items()},
    }


def _uncertainty(case: ExplainedCase) -> dict[str, Any] | None:
    known = case.uncertainty
    if known is None:
        return None
    return {
        "coverage": known.coverage,
        "statement": certain_sentence(case),
        "sets": {label: known.sets.get(label) for label in case.labels.columns},
        "reasons": dict(known.reasons),
        "disagreement": known.disagreement and dict(known.disagreement),
        "reason": known.reason,
    }


def _certainty(case: ExplainedCase, index: int) -> dict[str, Any]:
    """Of one slice."""
    known = case.uncertainty
    if known is None:
        return {"sets": dict.fromkeys(case.labels.columns), "disagreement": None}
    spread = known.slice_disagreement
    sets = {name: known.slice_sets[name][index] if name in known.slice_sets else None for name in case.labels.columns}
    return {"sets": sets, "disagreement": None if spread is None else _named(case, spread[index])}


def _named(case: ExplainedCase, values: Iterable[float]) -> dict[str, float | None]:
    return {
        label: None if math.isnan(value) else float(value)
        for label, value in zip(case.labels.columns, values, strict=True)
    }


def _map(case: ReadCase, index: int, attention: AttentionMap) -> dict[str, Any]:
    if attention.map is None:
        return {"method": attention.method, "map": None, "cells": None}
    values, first, step = case.pixels.back(index, attention.map)
    return {
        "method": attention.method,
        "map": values.tolist(),
        "cells": {"first": list(first), "step": list(step)},
    }


def _example(example: BasisExample, thumbnails: bool) -> dict[str, Any]:
    placed = example.standing
    found: dict[str, Any] = {
        "example": example.example,
        "case_id": example.case_id,
        "distance": float(example.distance),
        "percentile": placed and placed.percentile,
        "compared_with": placed and {"slices": placed.slices, "patients": placed.patients},
        "truth": list(example.truth),
    }
    if thumbnails:
        rows, columns = example.thumbnail.shape
        pixels = base64.b64encode(example.thumbnail.astype("<i2").tobytes()).decode("ascii")
        found["thumbnail"] = {"rows": rows, "columns": columns, "hu": pixels}
    return found
