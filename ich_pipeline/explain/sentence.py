"""What the system says of a case, and how sure it is, in words: the same on its page, in the worklist and in the answer as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ich_pipeline.ensemble.conformal import ABSENT, PRESENT
from ich_pipeline.explain.case import ExplainedCase, margin

RUNS = 3  # stretches of slices that a sentence names


def case_sentence(case: ExplainedCase) -> str:
    """``Suspected: intraparenchymal, left, slices 4–8; epidural possible; others not.``

    The first finding is the one whose case score lies farthest above its threshold (:func:`ich_pipeline.explain.case.margin`); what else
    reaches its own is "possible". Slices are those that reach the slice threshold of that finding, counted from 1 towards
    the head. Where the model has no answer and
    is asked for a demonstration, that comes first. The side is the patient's, of the finding's maps in the slices that are explained for it;
    it is named where these maps told the side well enough on validation (:meth:`ich_pipeline.explain.choice.MapChoice.names_side`).
    """
    if case.decision is None:
        said = case.no_answer
        return f"{said[:1].upper()}{said[1:]}." if said.startswith("not read") else f"Not read: {said}."
    said = _said(case)
    return f"No answer ({case.no_answer}); for demonstration: {said[:1].lower()}{said[1:]}" if case.no_answer else said


def certain_sentence(case: ExplainedCase) -> str | None:
    """``At 90 % coverage: haemorrhage present``; None where the ensemble was made without conformal sets."""
    if case.uncertainty is None:
        return None
    return f"At {100 * case.uncertainty.coverage:g} % coverage: haemorrhage {certain_words(case)[case.labels.any]}"


def certain_words(case: ExplainedCase) -> dict[str, str]:
    """The conformal set of each label in a word that fits what :func:`case_sentence` says of it.

    A set judges each finding by itself: any haemorrhage raises the scores of all, often beyond nine in ten patients without
    the finding. Below its threshold that is "not excluded", and no finding; without a threshold it is "not judged".
    """
    known = case.uncertainty
    if known is None:
        return {}
    words = {}
    for label in case.labels.columns:
        named, found = named_for_case(case, label), known.sets.get(label)
        if found is None:  # the page gives a subtype's reason below its table
            words[label] = known.spoken(label) if label == case.labels.any else "not available"
        elif named is None:
            words[label] = "not judged"
        elif found == PRESENT and not named:
            words[label] = "not excluded"
        elif found == ABSENT and named:
            words[label] = "doubtful"
        else:
            words[label] = known.spoken(label)
    return words


def named_for_case(case: ExplainedCase, label: str) -> bool | None:
    """Whether :func:`case_sentence` names a label; None where validation gave no threshold to judge it by."""
    if label == case.labels.any:
        return bool(case.decision)
    k = case.labels.index(label)
    return None if np.isnan(case.case_thresholds[k]) else bool(case.case_scores[k] >= case.case_thresholds[k])


def _said(case: ExplainedCase) -> str:
    subtypes = [case.labels.index(name) for name in case.labels.subtypes]
    above = margin(case.case_scores[subtypes], case.case_thresholds[subtypes])
    reached = case.case_scores[subtypes] >= np.nan_to_num(case.case_thresholds[subtypes], nan=np.inf)
    order = [subtypes[k] for k in np.argsort(-above, kind="stable") if reached[k]]
    names = [_name(case, k) for k in order]
    unjudged = [_name(case, k) for k in subtypes if np.isnan(case.case_thresholds[k])]
    tail = f"; {_listed(unjudged)} not judged" if unjudged else ""
    if not case.decision:
        return f"Not suspected{f'; {_listed(names)} above the threshold of its own' if names else ''}{tail}."
    if not names:
        return f"Suspected: haemorrhage of no named kind, {_slices(case, case.labels.index(case.labels.any))}{tail}."
    also = f"; {_listed(names[1:])} possible" if names[1:] else ""
    rest = "; others not" if len(names) + len(unjudged) < len(subtypes) else ""
    side = case.side(case.labels.columns[order[0]])
    where = f"{side}, " if side else ""
    return f"Suspected: {names[0]}, {where}{_slices(case, order[0])}{also}{rest}{tail}."


def _name(case: ExplainedCase, column: int) -> str:
    return case.labels.columns[column].replace("_", " ")


def _slices(case: ExplainedCase, column: int) -> str:
    """The slices where a label reaches its slice threshold; where none does, the one that scores highest.

    So it may be where the case score is not the highest slice's.
    """
    scores, threshold = case.final[:, column], case.slice_thresholds[column]
    reached = np.flatnonzero(scores >= threshold) if not np.isnan(threshold) else np.array([], int)
    if not len(reached):
        return f"highest in slice {int(np.argmax(scores)) + 1}"
    breaks = [0, *(k + 1 for k, (one, other) in enumerate(pairwise(reached)) if other - one > 1), len(reached)]
    runs = [reached[first:last] for first, last in pairwise(breaks)]
    longest = sorted(sorted(runs, key=len, reverse=True)[:RUNS], key=lambda run: run[0])
    spoken = [f"{run[0] + 1}–{run[-1] + 1}" if len(run) > 1 else f"{run[0] + 1}" for run in longest]
    more = " and others" if len(runs) > RUNS else ""
    return f"slice{'s' if len(reached) > 1 else ''} {_listed(spoken)}{more}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
