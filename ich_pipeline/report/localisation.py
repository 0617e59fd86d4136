"""Attention against the lesion masks and boxes of the tests, what stands beside it, and the examples that are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.explain.atlas_build import map_labels
from ich_pipeline.explain.attention import Attention, Explainer
from ich_pipeline.explain.beside import CENTRE, RANDOM, centre_prior, with_random_weights
from ich_pipeline.explain.boxes import BoxSummary
from ich_pipeline.explain.case import slice_thresholds
from ich_pipeline.explain.lesions import MaskedSlice, lesions_of
from ich_pipeline.explain.localisation import Draws, Localisation, LocalisationSummary, score_values, summarise
from ich_pipeline.report.boxed import Explained, localise_boxes
from ich_pipeline.report.figures import AttentionExample
from ich_pipeline.report.inputs import Inputs, TestResult
from ich_pipeline.report.render import display_name
from ich_pipeline.series.placement import Placement
from ich_pipeline.training.network import Network

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TestLocalisation:
    """Summaries by label, and examples of each subtype drawn at random.

    Attributes:
        test: its name.
        drawn: the labels whose maps the pages draw. The other summaries are the control: what their maps would show.
        summaries: of the map of every label on the slices that show it.
        named: the same, on those slices alone where the system names the label.
        beside: the same as ``summaries`` of what stands beside it: a centre prior, and the same network with random weights.
        examples: drawn at random.
        boxed: what boxes say, where a test has some (:func:`ich_pipeline.report.boxed.localise_boxes`).
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    test: str
    drawn: tuple[str, ...]
    summaries: tuple[LocalisationSummary, ...]
    named: tuple[LocalisationSummary, ...]
    beside: dict[str, tuple[LocalisationSummary, ...]]
    examples: tuple[AttentionExample, ...]
    boxed: dict[str, tuple[BoxSummary, ...]]

    @property
    def box_rows(self) -> list[dict[str, BoxSummary]]:
        """One row a label, as :attr:`rows`."""
        return [dict(zip(self.boxed, row, strict=True)) for row in zip(*self.boxed.values(), strict=True)]

    @property
    def rows(self) -> list[dict[str, LocalisationSummary]]:
        """One row a label: the map as ``own``, where the system names it as ``named``, and what stands beside it by name."""
        columns = {"own": self.summaries, "named": self.named, **self.beside}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


Scores = dict[str, Localisation | None]


def localise_tests(
    inputs: Inputs, network: Network, explainer: Explainer, track: Track = quiet
) -> list[TestLocalisation]:
    """Score the map of every label on every slice of the tests where a mask or a box shows it.

    Args:
        inputs: all data.
        network: whose maps are shown.
        explainer: of that network.
        track: shows progress over batches.
    """
    drawn = map_labels(inputs.labels, inputs.params.explain)
    untaught: Explainer | None = None
    found = []
    for test in inputs.tests:
        uids = test.slices["SOPInstanceUID"]
        if not uids.isin([*inputs.masks.keys(), *inputs.masks.boxes.keys()]).any():
            found.append(TestLocalisation(test.name, drawn, (), (), {}, (), {}))
            continue
        untaught = untaught or Explainer(with_random_weights(network, inputs.params.seed), inputs.params.explain)
        found.append(_localise(inputs, test, network, explainer, untaught, track))
    return found


def _localise(
    inputs: Inputs,
    test: TestResult,
    network: Network,
    explainer: Explainer,
    untaught: Explainer,
    track: Track,
) -> TestLocalisation:
    labels, drawn = inputs.labels, map_labels(inputs.labels, inputs.params.explain)
    boxed = localise_boxes(inputs, test, Explained(explainer, untaught, network.spec.image_size), track)
    rows = test.slices[test.slices["SOPInstanceUID"].isin(inputs.masks.keys())].reset_index(drop=True)
    if rows.empty:
        return TestLocalisation(test.name, drawn, (), (), {}, (), boxed)
    uids = rows["SOPInstanceUID"].tolist()
    slices = _masked(inputs, rows["case_id"].tolist(), rows["patient_key"].tolist(), uids)
    wanted = np.array([[name in one.lesions for name in labels.columns] for one in slices])
    images = np.asarray(inputs.images(network.spec.image_size)[inputs.window_rows.loc[uids].to_numpy()])
    attention = explainer.explain(images, wanted, track)
    random = untaught.explain(images, wanted, track)
    scores = [_scores(inputs, one, _of_maps(inputs, attention, i)) for i, one in enumerate(slices)]
    beside = {
        CENTRE: [_scores(inputs, one, lambda _, support: centre_prior(support)) for one in slices],
        RANDOM: [_scores(inputs, one, _of_maps(inputs, random, i)) for i, one in enumerate(slices)],
    }
    final = rows[[f"final_{name}" for name in labels.columns]].to_numpy(np.float64)
    named = wanted & (final >= slice_thresholds(inputs.ensemble))
    return TestLocalisation(
        test.name,
        drawn,
        _summaries(inputs, slices, scores, wanted),
        _summaries(inputs, slices, scores, named),
        {name: _summaries(inputs, slices, found, wanted) for name, found in beside.items()},
        tuple(_examples(inputs, test, slices, scores, attention, final)),
        boxed,
    )


def _masked(inputs: Inputs, case_ids: Sequence[str], patients: Sequence[str], uids: Sequence[str]) -> list[MaskedSlice]:
    found: dict[str, MaskedSlice] = {}
    for case_id in sorted(set(case_ids)):
        volume, spacing = inputs.volume(case_id), inputs.spacing_mm(case_id)
        for case, patient, uid in zip(case_ids, patients, uids, strict=True):
            if case == case_id:
                number = volume.uids.index(uid)
                lesions = lesions_of(inputs.masks[uid], inputs.placements.get(uid, Placement()), inputs.labels)
                found[uid] = MaskedSlice.of_volume(
                    case_id, patient, number + 1, volume.hu[number], volume.frame, spacing, lesions
                )
    return [found[uid] for uid in uids]


def _of_maps(inputs: Inputs, attention: Attention, i: int) -> Callable[[str, Mask], NDArray[np.float64]]:
    """The map of a label over slice ``i``, zero outside the support and where it locates nothing."""

    def values(label: str, support: Mask) -> NDArray[np.float64]:
        placed = attention.map(i, inputs.labels.index(label))
        return np.zeros(support.shape) if placed is None else placed.inside(support)

    return values


def _scores(inputs: Inputs, one: MaskedSlice, values: Callable[[str, Mask], NDArray[np.float64]]) -> Scores:
    """The map of every label that the slice shows, against its own lesion and the other subtypes'."""
    explain = inputs.params.explain
    scores: Scores = {}
    for name, mask in one.lesions.items():
        if not mask.any():  # a crop to the head may cut a mask off
            scores[name] = None
            continue
        others = one.others(name, inputs.labels)
        over = values(name, one.head | mask)
        tolerance, fraction = explain.hit_tolerance_mm, explain.region_fraction
        scores[name] = score_values(over, mask, one.head, one.spacing_mm, tolerance, others, fraction)
    return scores


def _summaries(
    inputs: Inputs, slices: Sequence[MaskedSlice], scores: Sequence[Scores], wanted: Mask
) -> tuple[LocalisationSummary, ...]:
    evaluation = inputs.params.evaluation
    draws = Draws(evaluation.bootstrap, inputs.params.seed, evaluation.confidence)
    found = []
    for k, name in enumerate(inputs.labels.columns):
        having = np.flatnonzero(wanted[:, k]).tolist()
        found.append(summarise(name, [scores[i][name] for i in having], [slices[i].patient for i in having], draws))
    return tuple(found)


def _examples(
    inputs: Inputs,
    test: TestResult,
    slices: Sequence[MaskedSlice],
    scores: Sequence[Scores],
    attention: Attention,
    final: NDArray[np.float64],
) -> list[AttentionExample]:
    labels, explain = inputs.labels, inputs.params.explain
    drawn = map_labels(labels, explain)
    examples = []
    random = np.random.default_rng(inputs.params.seed)
    for name in labels.subtypes:
        having = [i for i, one in enumerate(slices) if name in one.lesions]
        shown = name if name in drawn else labels.any
        for i in random.permutation(having)[: inputs.params.report.attention_examples].tolist():
            one, score = slices[i], scores[i][shown]
            examples.append(
                AttentionExample(
                    label=name,
                    map_label=shown,
                    test=test.name,
                    case_id=one.case_id,
                    slice_number=one.number,
                    probability=float(final[i, labels.index(shown)]),
                    hu=one.hu,
                    attention=attention.map(i, labels.index(shown)),
                    mask=one.lesions[shown],
                    hit=None if score is None else score.hit,
                )
            )
    return examples


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
