"""Attention against the lesion masks of the tests, and the examples that are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.placement import Placement
from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.localisation import (
    Draws,
    Localisation,
    LocalisationSummary,
    head_mask,
    localise,
    square,
    summarise,
)
from ich_pipeline.progress import Track, quiet
from ich_pipeline.report.figures import AttentionExample
from ich_pipeline.report.inputs import Inputs, TestResult

AIR_HU = -300  # between air (-1000) and fat (-100): what is brighter belongs to the head


@dataclass(frozen=True)
class TestLocalisation:
    """One summary a label, and examples of each subtype drawn at random."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    test: str
    summaries: tuple[LocalisationSummary, ...]
    examples: tuple[AttentionExample, ...]


def localise_test(
    inputs: Inputs, test: TestResult, explainer: Explainer, size: int, track: Track = quiet
) -> TestLocalisation:
    """Score the map of every label on every test slice where a mask shows it.

    Args:
        inputs: all data.
        test: the test cohort.
        explainer: of the network whose maps are shown.
        size: its image size.
        track: shows progress over batches.
    """
    labels = inputs.labels
    rows = test.slices[test.slices["SOPInstanceUID"].isin(inputs.masks.keys())].reset_index(drop=True)
    if rows.empty:
        return TestLocalisation(test.name, (), ())
    uids = rows["SOPInstanceUID"].tolist()
    lesions = [_lesions(inputs, uid) for uid in uids]
    wanted = np.array([[name in found for name in labels.columns] for found in lesions])
    images = np.asarray(inputs.images(size)[inputs.window_rows.loc[uids].to_numpy()])
    attention = explainer.explain(images, wanted, track)
    scores: dict[tuple[int, str], Localisation | None] = {}
    hu_of: dict[int, NDArray[np.int16]] = {}
    numbers: dict[int, int] = {}
    for case_id, group in rows.groupby("case_id", sort=True):
        volume = inputs.volume(str(case_id))
        for i in group.index.tolist():
            numbers[i] = volume.uids.index(uids[i])
            hu_of[i] = volume.hu[numbers[i]]
            lesions[i] = {name: mask[volume.box] for name, mask in lesions[i].items()}
            head = head_mask(square(hu_of[i], -1024), AIR_HU)
            for name, mask in lesions[i].items():
                found = attention.map(i, labels.index(name))
                scores[i, name] = None if found is None else localise(found, square(mask, False), head)
    examples = []
    random = np.random.default_rng(inputs.params.seed)
    for name in labels.subtypes:
        having = [i for i in range(len(uids)) if name in lesions[i]]
        for i in random.permutation(having)[: inputs.params.report.attention_examples].tolist():
            score = scores[i, name]
            examples.append(
                AttentionExample(
                    name,
                    test.name,
                    str(rows["case_id"][i]),
                    numbers[i] + 1,
                    float(rows[f"final_{name}"][i]),
                    square(hu_of[i], -1024),
                    attention.map(i, labels.index(name)),
                    square(lesions[i][name], False),
                    None if score is None else score.hit,
                )
            )
    evaluation = inputs.params.evaluation
    draws = Draws(evaluation.bootstrap, inputs.params.seed, evaluation.confidence)
    summaries = []
    for name in labels.columns:
        having = [i for i in range(len(uids)) if name in lesions[i]]
        patients = rows["patient_key"].iloc[having].tolist()
        summaries.append(summarise(name, [scores[i, name] for i in having], patients, draws))
    return TestLocalisation(test.name, tuple(summaries), tuple(examples))


def _lesions(inputs: Inputs, uid: str) -> dict[str, NDArray[np.bool_]]:
    """Masks of a slice by label, in the view of its volume, the union of all as "any"; unknown labels are left out."""
    place = inputs.placements.get(uid, Placement())
    found = {k: place.to_volume(m) for k, m in inputs.masks[uid].items() if k in inputs.labels.subtypes and m.any()}
    if found:
        found[inputs.labels.any] = np.any(list(found.values()), axis=0)
    return found
