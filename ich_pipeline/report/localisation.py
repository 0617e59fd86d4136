"""Attention against the lesion masks of the tests, and the examples that are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.explain.atlas_build import map_labels
from ich_pipeline.explain.attention import Attention, Explainer
from ich_pipeline.explain.localisation import Draws, Localisation, LocalisationSummary, localise, summarise
from ich_pipeline.explain.placed import slice_head, square
from ich_pipeline.report.figures import AttentionExample
from ich_pipeline.report.inputs import Inputs, TestResult
from ich_pipeline.report.render import display_name
from ich_pipeline.series.placement import Placement

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TestLocalisation:
    """One summary a label, and examples of each subtype drawn at random.

    ``drawn`` are the labels whose maps the pages draw. The other summaries are the control: what their maps would show.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    test: str
    drawn: tuple[str, ...]
    summaries: tuple[LocalisationSummary, ...]
    examples: tuple[AttentionExample, ...]


@dataclass(frozen=True)
class _Slice:
    """A test slice with masks: its square picture, the square masks by label, and what was found."""

    case_id: str
    patient: str
    number: int
    hu: NDArray[np.int16]
    lesions: dict[str, Mask]
    scores: dict[str, Localisation | None]


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
    labels, drawn = inputs.labels, map_labels(inputs.labels, inputs.params.explain)
    rows = test.slices[test.slices["SOPInstanceUID"].isin(inputs.masks.keys())].reset_index(drop=True)
    if rows.empty:
        return TestLocalisation(test.name, drawn, (), ())
    uids = rows["SOPInstanceUID"].tolist()
    lesions = [_lesions(inputs, uid) for uid in uids]
    wanted = np.array([[name in found for name in labels.columns] for found in lesions])
    images = np.asarray(inputs.images(size)[inputs.window_rows.loc[uids].to_numpy()])
    attention = explainer.explain(images, wanted, track)
    slices: dict[int, _Slice] = {}
    for case_id, group in rows.groupby("case_id", sort=True):
        volume, spacing = inputs.volume(str(case_id)), inputs.spacing_mm(str(case_id))
        for i in group.index.tolist():
            number = volume.uids.index(uids[i])
            hu = square(volume.hu[number], -1024)
            frame = volume.frame
            found = {name: frame.even(frame.cut(mask, False)) for name, mask in lesions[i].items()}
            scores = _scores(inputs, attention, i, found, slice_head(hu), frame.even_spacing_mm(spacing))
            slices[i] = _Slice(str(case_id), rows["patient_key"][i], number + 1, hu, found, scores)
    evaluation = inputs.params.evaluation
    draws = Draws(evaluation.bootstrap, inputs.params.seed, evaluation.confidence)
    summaries = []
    for name in labels.columns:
        having = [slices[i] for i in range(len(uids)) if name in lesions[i]]
        summaries.append(summarise(name, [s.scores[name] for s in having], [s.patient for s in having], draws))
    examples = []
    random = np.random.default_rng(inputs.params.seed)
    for name in labels.subtypes:
        having = [i for i in range(len(uids)) if name in lesions[i]]
        shown = name if name in drawn else labels.any
        for i in random.permutation(having)[: inputs.params.report.attention_examples].tolist():
            one, score = slices[i], slices[i].scores[shown]
            examples.append(
                AttentionExample(
                    label=name,
                    map_label=shown,
                    test=test.name,
                    case_id=one.case_id,
                    slice_number=one.number,
                    probability=float(rows[f"final_{shown}"][i]),
                    hu=one.hu,
                    attention=attention.map(i, labels.index(shown)),
                    mask=one.lesions[shown],
                    hit=None if score is None else score.hit,
                )
            )
    return TestLocalisation(test.name, drawn, tuple(summaries), tuple(examples))


def _scores(
    inputs: Inputs, attention: Attention, i: int, lesions: dict[str, Mask], head: Mask, spacing: tuple[float, float]
) -> dict[str, Localisation | None]:
    """The map of every label that the slice shows, against its own lesion and the other subtypes'."""
    labels, tolerance = inputs.labels, inputs.params.explain.hit_tolerance_mm
    scores: dict[str, Localisation | None] = {}
    for name, mask in lesions.items():
        placed = attention.map(i, labels.index(name))
        others = [m for n, m in lesions.items() if n not in (name, labels.any)] if name != labels.any else []
        besides = np.any(others, axis=0) if others else None
        if placed is None or not mask.any():  # a crop to the head may cut a mask off
            scores[name] = None
        else:
            scores[name] = localise(placed, mask, head, spacing, tolerance, besides)
    return scores


def _lesions(inputs: Inputs, uid: str) -> dict[str, Mask]:
    """Masks of a slice by label, in the view of its volume, the union of all as "any"; unknown labels are left out."""
    place = inputs.placements.get(uid, Placement())
    found = {k: place.to_volume(m) for k, m in inputs.masks[uid].items() if k in inputs.labels.subtypes and m.any()}
    if found:
        found[inputs.labels.any] = np.any(list(found.values()), axis=0)
    return found


def control_words(summaries: tuple[LocalisationSummary, ...], any_label: str) -> str | None:
    """What the control says, in one sentence; None where no slice shows two findings with a mask."""
    shared = [s for s in summaries if s.label != any_label and s.shared]
    if not shared:
        return None
    specific = [s for s in shared if _specific(s)]
    count = sum(s.shared for s in shared)
    own, other = (
        math.fsum(s.shared * (rate or 0.0) for s, rate in zip(shared, rates, strict=True)) / count
        for rates in ([s.own_rate for s in shared], [s.other_rate for s in shared])
    )
    words = f"In slices with two findings or more ({count} maps) the subtypes’ own maps hit their own lesion in {own:.0%} and another finding’s in {other:.0%}: "
    if not specific:
        return words + "they say where blood is, not which kind."
    names = ", ".join(display_name(s.label).lower() for s in specific)
    if len(specific) == len(shared):
        return words + "they are specific."
    return words + (
        f"the own lesion is ahead, beyond the intervals, for {names} alone, as it would be with one map for all that "
        "follows the most conspicuous lesion."
    )


def _specific(summary: LocalisationSummary) -> bool:
    """Whether the own lesion is hit more often than the others', beyond the intervals."""
    own, other = summary.own_interval, summary.other_interval
    return own is not None and other is not None and own[0] > other[1]
