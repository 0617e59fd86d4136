"""Which map is shown, and how well it points: chosen and measured on validation patients, never on a test.

Where validation has lesion masks, ``explain.method: auto`` takes the method that points best, and the outline is drawn at
the share of the maximum with the highest Dice. What was chosen travels with the atlas (``maps.json``), with the hit rate of
every label, so that a page can say beside an outline how often such an outline is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.core.files import read_versioned, write_json
from ich_pipeline.evaluation.bootstrap import draw_counts, has_width, interval
from ich_pipeline.explain.atlas import AGAIN
from ich_pipeline.explain.atlas_build import map_labels
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.lesions import MaskedSlice
from ich_pipeline.explain.localisation import Draws, Localisation, dice_by_fraction, score_values
from ich_pipeline.explain.side import LIMITS, ONE_SIDE, left_share, region_share, side_of
from ich_pipeline.tables.labels import Labels

SCHEMA = "maps/1"
FILE = "maps.json"
FRACTIONS = np.round(np.arange(0.05, 0.91, 0.05), 2)
SIDE_RIGHT, SIDE_SURE = 0.9, 0.6  # side accuracy of a label, and its lower bound, from which its side is named
NO_MASKS = "validation has no lesion mask of a finding that the system names, so they choose nothing (boxes are scored, no more)"


@dataclass(frozen=True)
class Share:
    """``right`` of ``of`` maps of ``patients``, with an interval by patient; None where there is no map."""

    right: int
    of: int
    patients: int
    low: float | None
    high: float | None

    @property
    def value(self) -> float | None:
        """The share; None without a map."""
        return self.right / self.of if self.of else None


@dataclass(frozen=True)
class MapScore:
    """How well the map that is drawn for a label points, on validation slices that show the label and where it is named.

    Attributes:
        label: what is looked for.
        map_label: whose map is drawn for it.
        hit: the maximum lies within the tolerance of the label's own lesion.
        side: of the slices whose region lies on one side, by the share ``side_from``, those whose lesion lies on it too.
        dice: mean, of the region with the lesion; None without a map.
        side_from: the least of :data:`~ich_pipeline.explain.side.LIMITS` from which a side may be named, the first where none.
    """

    label: str
    map_label: str
    hit: Share
    side: Share
    dice: float | None
    side_from: float = ONE_SIDE


@dataclass(frozen=True)
class Candidate:
    """A method that was tried: means over the labels; ``fraction`` is the one of its best Dice."""

    method: str
    layer: str | None
    words: str
    hit: float
    error: float
    dice: float
    fraction: float


@dataclass(frozen=True)
class MapChoice:
    """What is drawn, why, and how well it points.

    Attributes:
        architecture, method, layer, maps, fraction: what :meth:`applied` puts in place of the settings.
        reason: how it came about, one sentence.
        tolerance_mm: within which of a lesion a maximum hits it.
        slices, patients: of validation, that were scored.
        tried: the methods that were compared, best first.
        scores: by label; empty where nothing was scored.
    """

    architecture: str
    method: str
    layer: str | None
    maps: str
    fraction: float
    reason: str
    tolerance_mm: float
    slices: int
    patients: int
    tried: tuple[Candidate, ...]
    scores: Mapping[str, MapScore]

    def applied(self, explain: ExplainParams) -> ExplainParams:
        """The settings with what was chosen in place of what was left open."""
        chosen = {"method": self.method, "layer": self.layer, "maps": self.maps, "region_fraction": self.fraction}
        return explain.model_copy(update=chosen)

    def names_side(self, label: str) -> bool:
        """Whether the side of this finding may be named: its accuracy is high enough, and surely above chance."""
        found = self.scores.get(label)
        return found is not None and _sure(found.side)

    def save(self, folder: Path) -> None:
        """Write ``maps.json`` into an existing folder."""
        write_json(folder / FILE, {"schema": SCHEMA, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> MapChoice:
        """Read what :meth:`save` wrote; InputError where it is missing or of another schema."""
        raw = read_versioned(folder / FILE, SCHEMA, AGAIN)
        tried = tuple(Candidate(**one) for one in raw.pop("tried"))
        scores = {
            name: MapScore(**{**one, "hit": Share(**one["hit"]), "side": Share(**one["side"])})
            for name, one in raw.pop("scores").items()
        }
        return cls(**raw, tried=tried, scores=scores)


Explained = Callable[[ExplainParams], Attention]  # maps of the slices, all labels that they show


@dataclass(frozen=True)
class _Scored:
    """One candidate on all maps: for each label the slices that show it, what was found and Dice by fraction."""

    settings: ExplainParams
    words: str
    rows: dict[str, list[int]]
    found: dict[str, list[Localisation | None]]
    dice: dict[str, NDArray[np.float64]]
    attention: Attention

    def hits(self, label: str) -> NDArray[np.float64]:
        return np.array([bool(one and one.hit) for one in self.found[label]], np.float64)

    def mean_dice(self) -> NDArray[np.float64]:
        """By fraction, mean over the labels."""
        return np.mean([values.mean(axis=0) for values in self.dice.values()], axis=0)


def choose_maps(
    labels: Labels,
    explain: ExplainParams,
    layers: Sequence[str],
    slices: Sequence[MaskedSlice],
    wanted: NDArray[np.bool_],
    made: Explained,
    draws: Draws,
) -> MapChoice:
    """Choose method, layer, threshold and whose maps are drawn, and say how well they point.

    LayerCAM is tried at every layer, HiResCAM where it does best, Grad-CAM at the deepest, and CAM. Of those that point as well as the best,
    within its standard error by patient, the one with the highest Dice is taken.

    Args:
        labels: the labels.
        explain: settings; what they fix is scored and not chosen.
        layers: to try, the deepest first (:func:`ich_pipeline.explain.trials.layers_to_try`).
        slices: of validation, with masks.
        wanted: (n, labels), which labels of each count: those that it shows and the system names for it, since no other map
            is ever looked at.
        made: makes the maps of these slices by settings.
        draws: of the bootstrap.
    """
    if not wanted.any():
        maps = "any" if explain.maps == "auto" else explain.maps
        kept = (explain.architecture, explain.method, explain.layer, maps, explain.region_fraction)
        return MapChoice(*kept, NO_MASKS, explain.hit_tolerance_mm, 0, 0, (), {})
    patients = np.array([one.patient for one in slices], dtype=object)

    def tried(method: str, layer: str | None) -> tuple[Candidate, _Scored]:
        settings = explain.model_copy(update={"method": method, "layer": layer})
        scored = _score(labels, settings, slices, wanted, made)
        return _candidate(scored, patients, draws), scored

    if explain.method == "auto":
        layers = [explain.layer] if explain.layer else layers
        found = [tried("layercam", layer) for layer in layers]
        # AblationCAM costs a pass a channel: by setting alone.
        found += [
            tried("hirescam", _best([one for one, _ in found]).layer),
            tried("gradcam", layers[0]),
            tried("cam", None),
        ]
        how = f"of {len(found)} tried, the highest Dice among those that point as well as the best, within its standard error"
    else:
        found, how = [tried(explain.method, explain.layer)], "as set"
    chosen = _best([one for one, _ in found])
    winner = next(scored for one, scored in found if one is chosen)
    maps = _maps(labels, explain, winner, patients, draws)
    settings = winner.settings.model_copy(update={"maps": maps, "region_fraction": chosen.fraction})
    return MapChoice(
        explain.architecture,
        chosen.method,
        chosen.layer,
        maps,
        chosen.fraction,
        how,
        explain.hit_tolerance_mm,
        int(wanted.any(axis=1).sum()),
        len(set(patients[wanted.any(axis=1)])),
        tuple(sorted((one for one, _ in found), key=lambda one: (one is not chosen, -one.hit))),
        {name: _map_score(labels, name, settings, winner, slices, patients, draws) for name in winner.rows},
    )


def _best(tried: Sequence[Candidate]) -> Candidate:
    first = max(tried, key=lambda one: one.hit)
    return max((one for one in tried if one.hit >= first.hit - first.error), key=lambda one: one.dice)


def _score(
    labels: Labels,
    settings: ExplainParams,
    slices: Sequence[MaskedSlice],
    wanted: NDArray[np.bool_],
    made: Explained,
) -> _Scored:
    attention = made(settings)
    rows = {name: np.flatnonzero(wanted[:, k]).tolist() for k, name in enumerate(labels.columns) if wanted[:, k].any()}
    found: dict[str, list[Localisation | None]] = {name: [] for name in rows}
    dice: dict[str, list[NDArray[np.float64]]] = {name: [] for name in rows}
    for name in rows:
        for i in rows[name]:
            one, lesion = slices[i], slices[i].lesions[name]
            placed = attention.map(i, labels.index(name))
            values = np.zeros(one.hu.shape) if placed is None else placed.inside(one.head | lesion)
            others = one.others(name, labels)
            tolerance, fraction = settings.hit_tolerance_mm, settings.region_fraction
            found[name].append(score_values(values, lesion, one.head, one.spacing_mm, tolerance, others, fraction))
            nothing = np.zeros(len(FRACTIONS))
            dice[name].append(dice_by_fraction(values, lesion, FRACTIONS) if values.any() else nothing)
    return _Scored(settings, attention.method, rows, found, {n: np.array(v) for n, v in dice.items()}, attention)


def _candidate(scored: _Scored, patients: NDArray[np.object_], draws: Draws) -> Candidate:
    people, of = np.unique(patients.astype(str), return_inverse=True)
    counts = draw_counts(len(people), draws.replicates, draws.seed)[:, of]
    by_label = []
    for name, rows in scored.rows.items():
        drawn = counts[:, rows]
        with np.errstate(invalid="ignore"):
            by_label.append(drawn @ scored.hits(name) / drawn.sum(axis=1))
    replicates = np.nanmean(by_label, axis=0)
    hit = float(np.mean([scored.hits(name).mean() for name in scored.rows]))
    dice = scored.mean_dice()
    best = int(dice.argmax())
    error = float(np.nanstd(replicates))
    settings = scored.settings
    return Candidate(
        settings.method, settings.layer, scored.words, hit, error, float(dice[best]), float(FRACTIONS[best])
    )


def _maps(labels: Labels, explain: ExplainParams, scored: _Scored, patients: NDArray[np.object_], draws: Draws) -> str:
    """Whose maps are drawn. ``auto``: the subtypes' own, where they hit the own lesion more often than another's."""
    if explain.maps != "auto":
        return explain.maps
    own, other, who = [], [], []
    for name in labels.subtypes:
        for i, one in zip(scored.rows.get(name, []), scored.found.get(name, []), strict=True):
            if one is not None and one.hit_other is not None:
                own.append(one.hit)
                other.append(one.hit_other)
                who.append(patients[i])
    mine, theirs = share_of(own, who, draws), share_of(other, who, draws)
    apart = mine.low is not None and theirs.high is not None and mine.low > theirs.high
    return "subtypes" if apart else "any"


def _map_score(
    labels: Labels,
    label: str,
    settings: ExplainParams,
    scored: _Scored,
    slices: Sequence[MaskedSlice],
    patients: NDArray[np.object_],
    draws: Draws,
) -> MapScore:
    """Of the map that is drawn for a label, on the slices that show the label."""
    drawn = label if label in map_labels(labels, settings) else labels.any
    hits, shares, overlap = [], [], []
    for i in scored.rows[label]:
        one, lesion = slices[i], slices[i].lesions[label]
        placed = scored.attention.map(i, labels.index(drawn))
        values = np.zeros(one.hu.shape) if placed is None else placed.inside(one.head | lesion)
        found = score_values(
            values, lesion, one.head, one.spacing_mm, settings.hit_tolerance_mm, None, settings.region_fraction
        )
        hits.append(bool(found and found.hit))
        overlap.append(found.dice if found else 0.0)
        shares.append((region_share(placed, one.hu, settings.region_fraction), left_share(lesion, one.head)))
    who = [patients[i] for i in scored.rows[label]]
    dice = float(np.mean(overlap)) if overlap else None
    sides = {limit: _sides(shares, who, limit, draws) for limit in LIMITS}
    limit = next((one for one, share in sides.items() if _sure(share)), LIMITS[0])
    return MapScore(label, drawn, share_of(hits, who, draws), sides[limit], dice, limit)


def _sides(
    shares: Sequence[tuple[float | None, float | None]], who: Sequence[str], limit: float, draws: Draws
) -> Share:
    """How often the side is right where a map says one.

    Args:
        shares: left of the midline, of a map's region and of the lesion.
        who: the patients.
    """
    said = [
        (side_of(of_map, limit), lesion, one)
        for (of_map, lesion), one in zip(shares, who, strict=True)
        if of_map is not None
    ]
    stated = [(side == (lesion is not None and side_of(lesion)), one) for side, lesion, one in said if side is not None]
    return share_of([right for right, _ in stated], [one for _, one in stated], draws)


def _sure(side: Share) -> bool:
    """Whether sides that are right so often may be named."""
    return side.value is not None and side.low is not None and side.value >= SIDE_RIGHT and side.low >= SIDE_SURE


def share_of(right: Sequence[bool], patients: Sequence[str], draws: Draws) -> Share:
    """A share with its interval by patient; where all agree, Clopper-Pearson over the patients."""
    from ich_pipeline.evaluation.proportions import clopper_pearson  # scipy.stats, which serving does not need

    people, of = np.unique(np.array(patients, dtype=str), return_inverse=True)
    count, total = int(sum(right)), len(right)
    if not total:
        return Share(0, 0, 0, None, None)
    counts = draw_counts(len(people), draws.replicates, draws.seed)[:, of]
    bounds = interval(counts @ np.array(right, np.float64) / counts.sum(axis=1), draws.confidence)
    if count in (0, total) or bounds is None or not has_width(bounds):
        bounds = clopper_pearson(round(len(people) * count / total), len(people), draws.confidence)
    return Share(count, total, len(people), float(bounds[0]), float(bounds[1]))
