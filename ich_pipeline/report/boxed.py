"""Attention against the boxes of a test's lesions, where nobody drew outlines, and what stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.explain.attention import Attention, Explainer
from ich_pipeline.explain.beside import CENTRE, RANDOM, centre_prior
from ich_pipeline.explain.boxes import BoxedSlice, BoxScore, BoxSummary, score_boxes, summarise_boxes, union_of
from ich_pipeline.explain.localisation import Draws
from ich_pipeline.report.inputs import Inputs, TestResult
from ich_pipeline.series.placement import Placement

OWN = "own"


@dataclass(frozen=True)
class Explained:
    """The maps of a network, and of the same network with random weights."""

    own: Explainer
    random: Explainer
    size: int


def localise_boxes(
    inputs: Inputs, test: TestResult, explained: Explained, track: Track = quiet
) -> dict[str, tuple[BoxSummary, ...]]:
    """Score the map of every label on every test slice where a box shows it.

    Args:
        inputs: all data.
        test: the test cohort.
        explained: what makes maps of images of ``size`` pixels.
        track: shows progress over batches.

    Returns:
        of the network itself (:data:`OWN`), a centre prior and random weights: a summary a label. Empty without boxes.
    """
    known = inputs.masks.boxes
    rows = test.slices[test.slices["SOPInstanceUID"].isin(known.keys())].reset_index(drop=True)
    if rows.empty:
        return {}
    labels, uids = inputs.labels, rows["SOPInstanceUID"].tolist()
    slices = _boxed(inputs, rows["case_id"].tolist(), rows["patient_key"].tolist(), uids)
    wanted = np.array([[bool(one.boxes.get(name)) for name in labels.columns] for one in slices])
    images = np.asarray(inputs.images(explained.size)[inputs.window_rows.loc[uids].to_numpy()])
    made = {OWN: explained.own.explain(images, wanted, track), RANDOM: explained.random.explain(images, wanted, track)}
    evaluation = inputs.params.evaluation
    draws = Draws(evaluation.bootstrap, inputs.params.seed, evaluation.confidence)
    found = {}
    for which in (OWN, CENTRE, RANDOM):
        found[which] = tuple(
            summarise_boxes(
                name,
                [_score(inputs, slices[i], name, made.get(which), i) for i in np.flatnonzero(wanted[:, k]).tolist()],
                [slices[i].patient for i in np.flatnonzero(wanted[:, k]).tolist()],
                draws,
            )
            for k, name in enumerate(labels.columns)
        )
    return found


def _boxed(inputs: Inputs, case_ids: Sequence[str], patients: Sequence[str], uids: Sequence[str]) -> list[BoxedSlice]:
    found: dict[str, BoxedSlice] = {}
    for case_id in sorted(set(case_ids)):
        volume = inputs.volume(case_id)
        for case, patient, uid in zip(case_ids, patients, uids, strict=True):
            if case == case_id:
                place = inputs.placements.get(uid, Placement())
                hu = volume.hu[volume.uids.index(uid)]
                boxes = inputs.masks.boxes[uid]
                found[uid] = BoxedSlice.of_volume(patient, hu, volume.frame, place, boxes, inputs.labels)
    return [found[uid] for uid in uids]


def _score(inputs: Inputs, one: BoxedSlice, name: str, attention: Attention | None, i: int) -> BoxScore | None:
    """The map of a label over slice ``i``; without attention the centre prior."""
    boxes = one.boxes[name]
    support = one.head | union_of(boxes, one.head.shape)
    values: NDArray[np.float64] = np.zeros(support.shape)
    if attention is None:
        values = centre_prior(support)
    elif (placed := attention.map(i, inputs.labels.index(name))) is not None:
        values = placed.inside(support)
    return score_boxes(values, boxes, one.head, inputs.params.explain.region_fraction)
