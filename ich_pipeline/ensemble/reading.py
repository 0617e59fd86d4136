"""Iterative reading, the one implementation for evaluation and serving.

First every slice is scored without slice interpolation (SI). Slices at or above the gate, and their neighbours, are
read again with it; the others keep their first score. A case without a slice at the gate is negative: it is never
rescued.

A member with a sequence head is read at degree 0 in both readings: its neighbours speak through the head. So is the HU rule,
which measures the neighbours itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.baselines.hu_rule import MEMBER
from ich_pipeline.core.errors import InputError
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.uncertainty import Disagreement, disagreement
from ich_pipeline.sequence.member import architecture_of, has_head, member_of

if TYPE_CHECKING:
    from ich_pipeline.sequence.reading import SequenceReader
    from ich_pipeline.training.interpolated import Probabilities
    from ich_pipeline.training.spec import Readable


@dataclass(frozen=True)
class Reading:
    """What the system read; arrays are (slices, labels), (slices,), (cases, labels) or (cases,).

    Attributes:
        first: calibrated, without SI.
        second: calibrated, with SI; NaN in the slices that were not read with it.
        final: ``second`` where :attr:`reread`, else ``first``.
        suspicious: the slice's own first score reaches the gate.
        reread: suspicious, or a neighbour of such a slice.
        first_case_scores, case_scores: the case score of ``first`` and of ``final``.
        let_through: the case has a suspicious slice.
        decisions: the case is called positive.
        original: by member, uncalibrated probabilities at degree 0.
        interpolated: by member and by architecture of the ablation, uncalibrated probabilities at its degree; NaN where
            not read.
        disagreement: of the ensemble's members; None where it has one, or knows nothing of disagreement.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    final: NDArray[np.float64]
    suspicious: NDArray[np.bool_]
    reread: NDArray[np.bool_]
    first_case_scores: NDArray[np.float64]
    case_scores: NDArray[np.float64]
    let_through: NDArray[np.bool_]
    decisions: NDArray[np.bool_]
    original: Mapping[str, NDArray[np.floating]]
    interpolated: Mapping[str, NDArray[np.floating]]
    disagreement: Disagreement | None = None


def read(
    networks: Mapping[str, Readable],
    ensemble: Ensemble,
    images: Mapping[int, Any],
    neighbours: NDArray[np.integer],
    case_index: NDArray[np.integer],
    everywhere: bool,
    probabilities: Probabilities | None = None,
    sequences: Mapping[str, SequenceReader] | None = None,
    ablation: Sequence[str] = (),
    others: Mapping[str, NDArray[np.floating]] | None = None,
    known: Mapping[str, NDArray[np.float32]] | None = None,
) -> Reading:
    """Read whole cases.

    Args:
        networks: by architecture, at least the ensemble's members. With ``everywhere`` all of them are run, and all of
            ``sequences``, else only the members.
        ensemble: the fitted ensemble.
        images: by image size, int16 HU of shape (slices, size, size) as :func:`ich_pipeline.windowing.windows.prepare` makes
            (an array, a memory map or :class:`~ich_pipeline.training.data.SliceRows`).
        neighbours: shape (slices, 2): rows of the slices before and after, -1 at an end or a gap.
        case_index: shape (slices,): the case of each slice, 0 to cases - 1, every case with a slice. The slices of a
            case come in order of position.
        everywhere: also read with SI where nothing is suspicious (for the ablation): the members and ``ablation``. The
            other networks are read without. ``final``, case scores and decisions are the same either way.
        probabilities: how a network is run; by default
            :func:`ich_pipeline.training.interpolated.interpolated_probabilities`.
        sequences: by architecture, the networks of ``networks`` that have a sequence head, with it.
        ablation: architectures that ``everywhere`` reads with SI though they may be no members.
        others: by name, probabilities (slices, labels) of readers that are no networks, such as the HU rule.
        known: by architecture, a network's own probabilities (slices, labels) where a pass has given them already.

    Raises:
        InputError: a member is missing, a network has other labels, or there is no slice.
    """
    run = probabilities or _default_probabilities()
    heads = sequences or {}
    given = {name: scores for name, scores in (others or {}).items() if everywhere or name in ensemble.members}
    members = [name for name in ensemble.members if name not in given]
    names = (*networks, *map(member_of, heads)) if everywhere else members
    _check(networks, heads, {*names, *members}, ensemble, len(case_index))
    neighbours = np.asarray(neighbours)

    original: dict[str, NDArray[np.floating]] = dict(given)
    interpolated: dict[str, NDArray[np.floating]] = dict(given)
    alone = dict(known or {})  # and what the pass for a head gives of the network itself
    for name in filter(has_head, names):
        architecture = architecture_of(name)
        hu = images[networks[architecture].spec.image_size]
        alone[architecture], original[name] = heads[architecture].probabilities(hu, case_index)
        interpolated[name] = original[name]
    for name in (name for name in names if not has_head(name)):
        with_si = everywhere and name in (*ensemble.members, *ablation)
        degree = ensemble.degrees[name] if with_si else 0.0
        hu = images[networks[name].spec.image_size]
        degrees = (0.0,) if degree == 0.0 else (0.0, degree)
        found = run(networks[name], hu, neighbours, degrees, alone.get(name))
        original[name] = found[0]
        if with_si:
            interpolated[name] = found[-1]
    first = ensemble.first(original)
    suspicious = ensemble.suspicious(first)
    reread = ensemble.reread(first, neighbours)
    if not everywhere:
        interpolated = given | {
            name: _again(
                networks[architecture_of(name)],
                images,
                neighbours,
                reread,
                0.0 if has_head(name) else ensemble.degrees[name],
                original[name],
                run,
            )
            for name in names
        }
    wanted = np.ones_like(reread) if everywhere else reread
    second = np.full(first.shape, np.nan)
    second[wanted] = ensemble.second({name: answers[wanted] for name, answers in interpolated.items()})
    final = np.where(reread[:, None], second, first)
    case_scores = ensemble.case_score(final, case_index, neighbours)
    let_through = np.zeros(len(case_scores), dtype=bool)
    let_through[case_index[suspicious]] = True
    return Reading(
        first=first,
        second=second,
        final=final,
        suspicious=suspicious,
        reread=reread,
        first_case_scores=ensemble.case_score(first, case_index, neighbours),
        case_scores=case_scores,
        let_through=let_through,
        decisions=ensemble.decide(case_scores, let_through),
        original=original,
        interpolated=interpolated,
        disagreement=None
        if ensemble.uncertainty is None
        else disagreement(
            ensemble.uncertainty, original, ensemble.members, ensemble.case_score, case_index, neighbours
        ),
    )


def _default_probabilities() -> Probabilities:
    from ich_pipeline.training.interpolated import interpolated_probabilities

    return interpolated_probabilities


def _check(
    networks: Mapping[str, Readable],
    heads: Mapping[str, SequenceReader],
    members: Collection[str],
    ensemble: Ensemble,
    slices: int,
) -> None:
    if slices == 0:
        raise InputError("There is no slice to read: give at least one case.")
    for member in members:
        if member == MEMBER:
            raise InputError(f"The ensemble needs the HU rule ({MEMBER}), which is not there: run the baselines stage.")
        name = architecture_of(member)
        if name not in networks:
            raise InputError(f"The ensemble needs the network {name}, which is not there: run its train stage again.")
        if has_head(member):
            if name not in heads:
                raise InputError(
                    f"The ensemble needs the sequence head of {name}, which is not there: run the sequence stage."
                )
        elif name not in ensemble.degrees:
            raise InputError(f"The ensemble knows no network {name}: run the calibrate stage again.")
        if tuple(networks[name].spec.labels) != ensemble.labels.columns:
            raise InputError(
                f"The network {name} was trained for the labels {', '.join(networks[name].spec.labels)}, the ensemble "
                f"for {', '.join(ensemble.labels.columns)}: run the train and calibrate stages again."
            )


def _again(
    network: Readable,
    images: Mapping[int, Any],
    neighbours: NDArray[np.integer],
    reread: NDArray[np.bool_],
    degree: float,
    original: NDArray[np.float32],
    run: Probabilities,
) -> NDArray[np.float32]:
    """Probabilities at ``degree`` in the re-read slices, NaN elsewhere; only they and their neighbours are touched."""
    again = np.full_like(original, np.nan)
    if degree == 0.0 or not reread.any():
        again[reread] = original[reread]
        return again
    pairs = neighbours[reread]
    rows = np.union1d(np.flatnonzero(reread), pairs[pairs >= 0])
    # Slices that are here only as neighbours get no neighbours: they are not interpolated themselves.
    local = np.full((len(rows), 2), -1, dtype=np.int64)
    mine = reread[rows]
    local[mine] = np.where(pairs >= 0, np.searchsorted(rows, pairs), -1)
    hu = images[network.spec.image_size][rows]
    again[rows[mine]] = run(network, hu, local, (degree,), original[rows])[0][mine]
    return again
