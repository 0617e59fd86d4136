"""What the system says of a case, and how sure it is, in words: the same on its page, in the worklist and in the answer as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ich_pipeline.ensemble.conformal import ABSENT, NEITHER, PRESENT, UNDECIDED
from ich_pipeline.explain.case import ExplainedCase, margin

RUNS = 3  # stretches of slices that a sentence names


def case_sentence(case: ExplainedCase) -> str:
    """``Suspected: intraparenchymal, left, slices 4–8; epidural possible, slice 6; others not named.``

    The first finding is the one whose case score lies farthest above its threshold (:func:`ich_pipeline.explain.case.margin`); what else
    reaches its own is "possible", with its side where that is known. Slices are counted from 1 towards the head (:func:`named_slices`). Where "any" stays below its
    threshold and a finding does not, that finding is to be checked. Where the model has no answer and
    is asked for a demonstration, that comes first. The side is the patient's, of the finding's maps in the slices that are explained for it;
    it is "not determined" unless these maps told the side well enough on validation (:meth:`ich_pipeline.explain.choice.MapChoice.names_side`).
    """
    if case.decision is None:
        said = case.no_answer
        return f"{said[:1].upper()}{said[1:]}." if said.startswith("not read") else f"Not read: {said}."
    said = said_all_the_same(case)
    return f"No answer ({case.no_answer}); for demonstration: {said[:1].lower()}{said[1:]}" if case.no_answer else said


def said_all_the_same(case: ExplainedCase) -> str:
    """:func:`case_sentence` of a decision, without a word of why it is no answer."""
    found = _found(case)
    subtypes = [case.labels.index(name) for name in case.labels.subtypes]
    unjudged = [_name(case, k) for k in subtypes if np.isnan(case.case_thresholds[k])]
    tail = f"; {_listed(unjudged)} not judged" if unjudged else ""
    possible = [_possible(case, k) for k in (found[1:] if case.decision else found)]
    if not case.decision:
        return (
            f"Check: {'; '.join(possible)}; haemorrhage as a whole not suspected{tail}."
            if possible
            else f"Not suspected{tail}."
        )
    if not found:
        return f"Suspected: haemorrhage of no named kind, {_slices(case, case.labels.index(case.labels.any))}{tail}."
    rest = "; others not named" if len(found) + len(unjudged) < len(subtypes) else ""
    side = case.side(case.labels.columns[found[0]]) or "side not determined"
    return f"Suspected: {_name(case, found[0])}, {side}, {_slices(case, found[0])}{''.join(f'; {one}' for one in possible)}{rest}{tail}."


def _possible(case: ExplainedCase, column: int) -> str:
    side = case.side(case.labels.columns[column])
    return f"{_name(case, column)} possible, {f'{side}, ' if side else ''}{_slices(case, column)}"


def leading_finding(case: ExplainedCase) -> str | None:
    """The subtype that :func:`case_sentence` names first; None where it names none."""
    found = _found(case) if case.decision is not None else []
    return case.labels.columns[found[0]] if found else None


def named_slices(case: ExplainedCase) -> list[int]:
    """Indices of the slices that :func:`case_sentence` names, in order: of the leading finding, or of those to be checked."""
    if case.decision is None:
        return []
    found = _found(case)
    if case.decision:
        return _reached(case, found[0] if found else case.labels.index(case.labels.any))
    return sorted({i for k in found for i in _reached(case, k)})


def certain_sentence(case: ExplainedCase) -> str | None:
    """``Haemorrhage suspected: supported at 90 % coverage``; None where the ensemble was made without conformal sets."""
    if case.uncertainty is None:
        return None
    label, coverage = case.labels.any, f"{100 * case.uncertainty.coverage:g} % coverage"
    if label not in case.uncertainty.sets:
        return f"No statement at {coverage}: {case.uncertainty.reasons[label]}"
    return f"Haemorrhage {named_words(case)[label]}: {certain_words(case)[label]} at {coverage}"


def named_words(case: ExplainedCase) -> dict[str, str]:
    """What :func:`case_sentence` says of each label, in a word: suspected, possible, not named, not judged."""
    leading = _found(case)[:1] if case.decision else []
    words = {}
    for k, label in enumerate(case.labels.columns):
        named = named_for_case(case, label)
        words[label] = (
            ("suspected" if named else "not suspected") if label == case.labels.any
            else "not judged" if named is None
            else "suspected" if k in leading
            else "possible" if named
            else "not named"
        )  # fmt: skip
    return words


def certain_words(case: ExplainedCase) -> dict[str, str]:
    """How sure it is of each label's word in :func:`named_words`, by the label's conformal set.

    Supported: the set holds that answer alone. Undecided: both. Doubtful: the other one alone. A set judges each finding by itself, and any
    haemorrhage raises the scores of all, often beyond nine in ten patients without the finding.
    """
    known = case.uncertainty
    if known is None:
        return {}
    words = {}
    for label in case.labels.columns:
        named, found = named_for_case(case, label), known.sets.get(label)
        if found is None:  # the page gives a subtype's reason below its table
            words[label] = f"not available ({known.reasons[label]})" if label == case.labels.any else "not available"
        elif named is None:
            words[label] = "not judged"
        elif found in (PRESENT, ABSENT):
            words[label] = "supported" if named == (found == PRESENT) else "doubtful"
        else:
            words[label] = {UNDECIDED: "undecided", NEITHER: "fits neither"}[found]
    return words


def named_for_case(case: ExplainedCase, label: str) -> bool | None:
    """Whether :func:`case_sentence` names a label; None where validation gave no threshold to judge it by."""
    if label == case.labels.any:
        return bool(case.decision)
    k = case.labels.index(label)
    return None if np.isnan(case.case_thresholds[k]) else bool(case.case_scores[k] >= case.case_thresholds[k])


def _found(case: ExplainedCase) -> list[int]:
    """Columns of the subtypes that reach the case threshold of their own, the one farthest above it first."""
    subtypes = [case.labels.index(name) for name in case.labels.subtypes]
    above = margin(case.case_scores[subtypes], case.case_thresholds[subtypes])
    return [
        k
        for k in (subtypes[j] for j in np.argsort(-above, kind="stable"))
        if named_for_case(case, case.labels.columns[k])
    ]


def _reached(case: ExplainedCase, column: int) -> list[int]:
    """The slices where a label reaches its slice threshold, and "any" its own; where none does, the one that scores highest.

    So it may be where the case score is not the highest slice's.
    """
    columns = [column, case.labels.index(case.labels.any)]
    limits = case.slice_thresholds[columns]
    if np.isnan(limits[1]):  # "any" has none to reach
        limits = np.array([limits[0], -np.inf])
    reached = np.flatnonzero((case.final[:, columns] >= limits).all(axis=1))  # never, where the threshold is NaN
    return [int(i) for i in reached] if len(reached) else [int(np.argmax(case.final[:, column]))]


def _name(case: ExplainedCase, column: int) -> str:
    return case.labels.columns[column].replace("_", " ")


def _slices(case: ExplainedCase, column: int) -> str:
    """The slices of :func:`_reached` in words."""
    reached = _reached(case, column)
    if len(reached) == 1 and not case.final[reached[0], column] >= case.slice_thresholds[column]:
        return f"highest in slice {reached[0] + 1}"
    return f"slice{'s' if len(reached) > 1 else ''} {stretches(reached, range(1, len(case.final) + 1))}"


def stretches(reached: Sequence[int], numbers: Sequence[int]) -> str:
    """``4–8 and 11``: slices in words, the longest stretches of them.

    Args:
        reached: indices, in order, one at least.
        numbers: what every slice is called; within a stretch they rise or fall.
    """
    breaks = [0, *(k + 1 for k, (one, other) in enumerate(pairwise(reached)) if other - one > 1), len(reached)]
    runs = [reached[first:last] for first, last in pairwise(breaks)]
    longest = sorted(sorted(runs, key=len, reverse=True)[:RUNS], key=lambda run: run[0])
    spoken = [f"{numbers[run[0]]}–{numbers[run[-1]]}" if len(run) > 1 else f"{numbers[run[0]]}" for run in longest]
    return f"{_listed(spoken)}{' and others' if len(runs) > RUNS else ''}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
