"""A case with its reading and the reasons for it: what the case page, the registered model and ``ich predict`` show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.ensemble.calibration import logit as log_odds
from ich_pipeline.ensemble.uncertainty import CaseUncertainty, of_case
from ich_pipeline.explain.atlas import Atlas, BasisExample
from ich_pipeline.explain.atlas_build import map_labels
from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.choice import MapChoice
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.explain.scan import Scan
from ich_pipeline.explain.side import Side, side_of_maps
from ich_pipeline.tables.labels import Labels
from ich_pipeline.windowing.windows import WindowLike

if TYPE_CHECKING:
    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.ensemble.operating_points import OperatingPoint
    from ich_pipeline.ensemble.reading import Reading
    from ich_pipeline.precedent.model import Judgement
    from ich_pipeline.training.spec import Readable

SLICES_PER_LABEL = 2  # suspicious slices shown large for each subtype: what a reader takes in at one glance
NO_THRESHOLD = np.inf  # a label without one is never reached


@dataclass(frozen=True)
class AttentionMap:
    """Where one label of one slice comes from; ``map`` is None where it locates nothing."""

    map: PlacedMap | None
    method: str


@dataclass(frozen=True)
class ExplainedCase:
    """One case, read and explained. Arrays over labels follow ``labels.columns``.

    Slice probabilities are calibrated, except where ``uncalibrated`` says why not. A case score is a rule over them (such
    as the largest); it ranks cases and is no calibrated probability itself.

    Attributes:
        case_id: the only identifier that people see.
        labels: the labels.
        sop_instance_uids: n, in order of position.
        positions_mm: (n,), along the slice normal.
        hu: int16 (n, Rows, Columns), HU, full resolution.
        windows: for display, the first is shown first.
        first, second, final: (n, L); ``second`` is NaN where a slice was not read again.
        reread: bool (n,).
        case_scores: (L,).
        case_score_rule: how they came from the slices: max, top_k_mean, neighbours, noisy_or.
        decision: haemorrhage suspected; None where there is no answer (``no_answer``) and none is shown.
        operating_point: name of the threshold of the decision.
        threshold: case score of ``any`` at or above which the decision is positive.
        gate: first-reading score of ``any`` at or above which a slice is read again.
        slice_thresholds: (L,) thresholds of the same operating point for slices; NaN where not estimable.
        case_thresholds: (L,) the same for case scores: a slice that reaches one alone decides its case for that label,
            where the case score is the largest slice.
        shown: slice index → findings that are named for it, the leading one first.
        attention: slice index → label → map: of "any" alone, or of the findings that are named (``explain.maps``).
        basis: slice index → subtype → nearest training examples.
        reasons: subtype → why it has no prediction basis.
        uncalibrated: label → why validation could not calibrate it.
        uncertainty: conformal sets and disagreement; None where the ensemble was made without them.
        no_answer: why the model has no answer for this input; empty where it has one. Where there is a decision all the
            same, it is shown for demonstration.
        maps: how well the maps pointed on validation, by which a side is named or not; None where nothing is explained.
        judged: how like those of training the scan and its slices are; None where the model has no answer whatever the scan
            is like.
        scan: what a page says of the series: its numbers, the spacing of ``hu``, and what may tell whose it is.
    """

    case_id: str
    labels: Labels
    sop_instance_uids: tuple[str, ...]
    positions_mm: NDArray[np.floating]
    hu: NDArray[np.int16]
    windows: tuple[WindowLike, ...]
    first: NDArray[np.floating]
    second: NDArray[np.floating]
    final: NDArray[np.floating]
    reread: NDArray[np.bool_]
    case_scores: NDArray[np.floating]
    case_score_rule: str
    decision: bool | None
    operating_point: str
    threshold: float
    gate: float
    slice_thresholds: NDArray[np.floating]
    case_thresholds: NDArray[np.floating]
    shown: Mapping[int, Sequence[str]]
    attention: Mapping[int, Mapping[str, AttentionMap]]
    basis: Mapping[int, Mapping[str, Sequence[BasisExample]]]
    reasons: Mapping[str, str]
    uncalibrated: Mapping[str, str]
    uncertainty: CaseUncertainty | None
    maps: MapChoice | None = field(default=None, kw_only=True)
    no_answer: str = field(default="", kw_only=True)
    judged: Judgement | None = field(default=None, kw_only=True)
    scan: Scan = field(default=Scan(), kw_only=True)

    @property
    def unlike(self) -> tuple[str, ...]:
        """In what the scan is unlike those of training, where that is why there is no answer; the most unlike first."""
        return self.judged.unlike if self.judged else ()

    def side(self, label: str) -> Side | None:
        """The side of a finding in the slices that are explained for it; None where the maps do not say one surely enough."""
        if self.maps is None or not self.maps.names_side(label):
            return None
        drawn = self.maps.scores[label].map_label
        found = [
            (maps[drawn].map, self.hu[i])
            for i, maps in self.attention.items()
            if label in self.shown[i] and drawn in maps
        ]
        return side_of_maps(found, self.maps.fraction, self.maps.scores[label].side_from)

    @property
    def verdict(self) -> str:
        """The decision in words, or why there is none."""
        if self.decision is None:
            return self.no_answer
        decided = "suspected" if self.decision else "not suspected"
        return f"{self.no_answer} (demonstration: {decided})" if self.no_answer else decided


def explain_case(
    *,
    case_id: str,
    sop_instance_uids: Sequence[str],
    hu: NDArray[np.int16],
    positions_mm: NDArray[np.floating],
    reading: Reading,
    networks: Mapping[str, Readable],
    images: Mapping[int, NDArray[Any]],
    atlas: Atlas,
    maps: MapChoice,
    labels: Labels,
    explain: ExplainParams,
    windows: Sequence[WindowLike],
    ensemble: Ensemble,
    explainer: Explainer,
) -> ExplainedCase:
    """Add attention maps and prediction basis to the reading of one case.

    Args:
        case_id: name of the case.
        sop_instance_uids: n slices in order.
        hu: (n, Rows, Columns), full resolution, square pixels.
        positions_mm: (n,).
        reading: of this case alone (one case index).
        networks: by architecture; ``explain.architecture`` must be among them.
        images: by image size, (n, size, size) prepared slices.
        atlas: of the same network.
        maps: how well the maps point.
        labels: the labels.
        explain: settings, with what was chosen of the maps in place (:meth:`ich_pipeline.explain.choice.MapChoice.applied`).
        windows: all configured windows.
        ensemble: whose thresholds made the decision.
        explainer: of that network, built once for many cases.
    """
    thresholds = slice_thresholds(ensemble)
    uncalibrated = uncalibrated_labels(ensemble)
    shown = shown_slices(reading.final, reading.reread, thresholds, labels, uncalibrated, most=explain.findings_shown)
    drawn = map_labels(labels, explain)
    attention: dict[int, dict[str, AttentionMap]] = {}
    basis: dict[int, dict[str, Sequence[BasisExample]]] = {}
    if shown:
        rows = list(shown)
        wanted = np.zeros((len(rows), len(labels)), bool)
        # Where no finding can be named, the map of "any" stands alone, whatever the setting.
        maps_of = {row: [n for n in shown[row] if n in drawn] or [labels.any] for row in rows}
        for i, row in enumerate(rows):
            wanted[i, [labels.index(name) for name in maps_of[row]]] = True
        size = networks[explain.architecture].spec.image_size
        found = explainer.explain(np.asarray(images[size][rows]), wanted)
        for i, row in enumerate(rows):
            attention[row] = {n: AttentionMap(found.map(i, labels.index(n)), found.method) for n in maps_of[row]}
            basis[row] = {n: atlas.basis(found.features[i], n, explain.basis_neighbours) for n in shown[row]}
    return ExplainedCase(
        case_id=case_id,
        labels=labels,
        sop_instance_uids=tuple(sop_instance_uids),
        positions_mm=np.asarray(positions_mm),
        hu=hu,
        windows=tuple(windows),
        first=reading.first,
        second=reading.second,
        final=reading.final,
        reread=reading.reread,
        case_scores=reading.case_scores[0],
        case_score_rule=ensemble.case_score.rule,
        decision=bool(reading.decisions[0]),
        operating_point=ensemble.decision,
        threshold=ensemble.decision_threshold,
        gate=ensemble.gate_threshold,
        slice_thresholds=thresholds,
        case_thresholds=case_thresholds(ensemble),
        shown=shown,
        attention=attention,
        basis=basis,
        reasons={e.label: e.reason for e in atlas.entries if e.reason is not None},
        uncalibrated=uncalibrated,
        uncertainty=of_case(ensemble, reading),
        maps=maps,
    )


def slice_thresholds(ensemble: Ensemble) -> NDArray[np.float64]:
    """Slice threshold of each label at the operating point of the decision; NaN where validation could not give one."""
    return _thresholds(ensemble, ensemble.slice_points)


def case_thresholds(ensemble: Ensemble) -> NDArray[np.float64]:
    """As :func:`slice_thresholds`, of case scores."""
    return _thresholds(ensemble, ensemble.case_points)


def _thresholds(ensemble: Ensemble, points: Mapping[str, Mapping[str, OperatingPoint]]) -> NDArray[np.float64]:
    found = [points[name][ensemble.decision].threshold for name in ensemble.labels.columns]
    return np.array([np.nan if t is None else t for t in found], np.float64)


def uncalibrated_labels(ensemble: Ensemble) -> dict[str, str]:
    """Labels whose score validation could not calibrate in one of the readings, and why."""
    return {
        name: calibration.reason
        for reading in (ensemble.first_reading, ensemble.second_reading)
        for name, calibration in zip(ensemble.labels.columns, reading.calibrations, strict=True)
        if calibration.reason is not None
    }


def shown_slices(
    final: NDArray[np.floating],
    reread: NDArray[np.bool_],
    thresholds: NDArray[np.floating],
    labels: Labels,
    uncalibrated: Collection[str] = (),
    most: int = 3,
) -> dict[int, tuple[str, ...]]:
    """Which slices are explained, and for which findings.

    For each subtype, the slices read again that score highest among those at or above the subtype's threshold; and always
    the slice that scores highest for "any", since the case's score comes from it. A slice is explained for the subtypes
    that reach their threshold, the one farthest above it (:func:`margin`) first, ``most`` at most; where none does, for
    the most probable one. Where no slice was read again (none reached the gate), nothing is
    explained.

    Args:
        final: (n, L).
        reread: (n,).
        thresholds: (L,), NaN where validation could not give one.
        labels: the labels.
        uncalibrated: labels whose scores are on a scale of their own, so that "most probable" does not hold for them.
        most: findings a slice.

    Returns:
        slice index → findings, the leading one first; the most suspicious slice first.
    """
    if not reread.any():
        return {}
    any_scores = final[:, labels.index(labels.any)]
    columns = [labels.index(name) for name in labels.subtypes]
    reached = final[:, columns] >= np.nan_to_num(thresholds[columns], nan=NO_THRESHOLD)
    above = margin(final[:, columns], thresholds[columns])
    named = {row: _named(labels, reached[row], above[row], most) for row in range(len(final))}
    top = int(any_scores.argmax())
    rows = {top}
    for k, (name, column) in enumerate(zip(labels.subtypes, columns, strict=True)):
        candidates = np.array([i for i in np.flatnonzero(reached[:, k] & reread) if name in named[int(i)]], int)
        best = np.argsort(-final[candidates, column], kind="stable")[:SLICES_PER_LABEL]
        rows.update(candidates[best].tolist())
    comparable = [name for name in labels.subtypes if name not in uncalibrated]
    shown = {}
    for row in sorted(rows, key=lambda r: (-any_scores[r], r)):
        names = named[row]
        if not names and comparable:
            names = (max(comparable, key=lambda name: final[row, labels.index(name)]),)
        shown[row] = names
    return shown


def margin(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.float64]:
    """How far scores lie above their thresholds, in log-odds; −∞ where there is no threshold.

    Not by their ratio: a finding with a low threshold reaches twice it easily, one with a high threshold never.

    Args:
        scores: probabilities, shape (…, labels).
        thresholds: shape (labels,), NaN where there is none.
    """
    found = log_odds(scores) - log_odds(np.nan_to_num(thresholds, nan=1.0))
    return np.where(np.isnan(thresholds), -np.inf, found)


def _named(labels: Labels, reached: NDArray[np.bool_], above: NDArray[np.floating], most: int) -> tuple[str, ...]:
    order = [k for k in np.argsort(-above, kind="stable") if reached[k]]
    return tuple(labels.subtypes[k] for k in order[:most])
