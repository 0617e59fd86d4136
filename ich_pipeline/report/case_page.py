"""The case page: what is suspected, the whole scan in a viewer, the suspicious slices with their reasons, in one offline file.

The viewer is NiiVue (:mod:`ich_pipeline.report.niivue`), the volume is there once (:mod:`ich_pipeline.report.volume`). Pictures
are of the suspicious slices alone: for print, and for browsers that cannot run the viewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.explain.atlas import BasisExample
from ich_pipeline.explain.case import ExplainedCase
from ich_pipeline.explain.choice import MapChoice
from ich_pipeline.explain.sentence import (
    case_sentence,
    certain_sentence,
    certain_words,
    leading_finding,
    named_for_case,
    named_slices,
    named_words,
    said_all_the_same,
    stretches,
)
from ich_pipeline.precedent.model import DISTANCES
from ich_pipeline.report.niivue import viewer
from ich_pipeline.report.pictures import DRAWN, ct_uri, draw_map, draw_values, map_in_head, window_filters
from ich_pipeline.report.render import display_name, render, score
from ich_pipeline.report.volume import AIR_HU, Carried, carried, script_json
from ich_pipeline.windowing.windows import Window, WindowLike

REGION = 0.5  # outline at this share of a map's maximum, where the caller names no other
LARGE = 512  # pixels of a slice shown large, at most
EXAMPLE = 256  # pixels of a training example, at most
USUAL = (  # windows that readers of head CT expect, beside those of the model; WindowCenter and WindowWidth in HU
    Window("brain", 40, 80),
    Window("subdural", 80, 200),
    Window("stroke", 40, 40),
    Window("bone", 600, 2800),
    Window("soft_tissue", 50, 350),
)
RULES = {  # what a case score is, in words
    "max": "the highest probability of a slice",
    "top_k_mean": "the mean of the highest probabilities of slices",
    "neighbours": "the highest geometric mean of the probabilities of two neighbouring slices",
    "noisy_or": "the chance that the finding is real in one slice at least, if slices were independent",
}
Maps = Mapping[tuple[str, int], NDArray[np.float64]]  # (label, slice index) → map_in_head
UNREAD = "Read this scan yourself."
UNUSUAL = 95.0  # percentile of held-out true positives from which a slice counts as far from anything in training


@dataclass(frozen=True)
class Truth:
    """What the reference says, for pages of test cases: labels of the case and 0/1 (n, L) of its slices."""

    case: tuple[str, ...]
    slices: NDArray[np.integer]


def case_page(
    case: ExplainedCase,
    *,
    truth: Truth | None = None,
    region_fraction: float = REGION,
    home: str | None = None,
    caution: str = "",
    scan_cautions: Sequence[str] = (),
    model: str = "",
    learned: str = "",
    identifiers: bool = False,
) -> str:
    """The page of one case.

    Args:
        case: read and explained.
        truth: the reference, where there is one.
        region_fraction: outline at this share of a map's maximum.
        home: relative link back to an overview, if any.
        caution: what the tests of the version that read it do not show.
        scan_cautions: what to beware of in the scan, such as a part of the head that was not read.
        model: name and version of what read it.
        learned: what it was trained on, in sentences.
        identifiers: show study date, accession number and series description.

    Returns:
        self-contained HTML; it names the case by ``case_id`` alone, unless identifiers are asked for.

    Raises:
        InputError: the viewer's package is missing or of another version.
    """
    withheld, start = case.decision is None, _first_shown(case)
    maps = _maps(case)
    volume, player = carried(case, case.scan, maps), viewer()
    suspicious = [_suspicious(case, i, truth, region_fraction, maps) for i in case.attention]
    return render(
        "case.html.j2",
        case=case,
        columns=case.labels.columns,
        home=home,
        caution=caution,
        scan_cautions=[sentence(one) for one in scan_cautions],
        withheld=withheld,
        filters=window_filters(case.windows),
        verdict=_verdict(case, truth),
        scores=[] if withheld else _scores(case, maps),
        remarks=[] if withheld else _remarks(case),
        certain=certain_words(case),
        certain_said=certain_sentence(case),
        named=named_words(case),
        rule=RULES[case.case_score_rule],
        strip=_strip(case, truth),
        line=None if withheld or np.isnan(case.slice_thresholds[0]) else float(case.slice_thresholds[0]),
        start=start,
        poster=None if suspicious else ct_uri(case.hu[start], LARGE, case.windows),
        one_map=all(set(maps) == {case.labels.any} for maps in case.attention.values()),
        suspicious=suspicious,
        truth=truth,
        reasons=case.reasons,
        examples=any(found for of_slice in case.basis.values() for found in of_slice.values()),
        model=model,
        learned=learned,
        scan=case.scan,
        identifiers=identifiers,
        presets=presets(case.windows),
        planes=volume.planes,
        volume=volume,
        mapped=sorted(
            {label for label, _ in volume.mapped},
            key=lambda label: (label != leading_finding(case), case.labels.columns.index(label)),
        ),
        player=player,
        facts=script_json(_facts(case, volume, start)),
    )


def presets(windows: Sequence[WindowLike]) -> list[WindowLike]:
    """The windows on the keys 1, 2, …: the model's first, then those of :data:`USUAL` that are not among them."""
    known = {(w.center, w.width) for w in windows} | {w.name for w in windows}
    return [*windows, *(w for w in USUAL if (w.center, w.width) not in known and w.name not in known)]


def _facts(case: ExplainedCase, volume: Carried, start: int) -> dict[str, Any]:
    """What the page's script needs to know."""
    slices, rows, columns = case.hu.shape
    numbers = case.scan.instance_numbers or (None,) * slices
    return {
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "spacing": case.scan.spacing_mm,
        "positions": [round(float(at), 2) for at in case.positions_mm],
        "instances": numbers,
        "suspicious": sorted(case.attention),
        "start": start,
        "presets": [[float(w.center), float(w.width)] for w in presets(case.windows)],
        "mapped": volume.mapped,
        "cells": DRAWN,
        "airHU": AIR_HU,
    }


def _strip(case: ExplainedCase, truth: Truth | None) -> list[dict[str, Any]]:
    """The slices in the strip of scores."""
    known, named = case.decision is not None, named_slices(case)
    return [
        {
            "number": i + 1,
            "position": float(case.positions_mm[i]),
            "score": float(case.final[i, 0]) if known else None,
            "mark": _mark(case, i, named),
            "reread": bool(case.reread[i]),
            "suspicious": i in case.attention,
            "words": " · ".join(
                f"{display_name(name)} {score(float(value))}"
                for name, value in zip(case.labels.columns, case.final[i], strict=True)
            )
            if known
            else "",
            "truth": _names(case, truth.slices[i]) if truth else None,
            "strange": _strange(case, i),
            "apart": _apart(case, i),
        }
        for i in range(len(case.hu))
    ]


def _mark(case: ExplainedCase, i: int, named: Sequence[int]) -> Literal["", "named", "check"]:
    """The colour of a slice: red where the first line names it, amber where it is worth a look besides."""
    if case.decision is None:
        return ""
    if i in named:
        return "named" if case.decision else "check"
    return "check" if case.final[i, 0] >= case.slice_thresholds[0] else ""


def _apart(case: ExplainedCase, i: int) -> str:
    """How far a slice is from the training slices, in words; empty where that is not known."""
    if case.judged is None:
        return ""
    found = case.judged.slices
    named = ", ".join(f"{DISTANCES[name]} {values[i]:.1f}" for name, values in found.excess.items())
    return f"beyond the usual distance to the training slices by: {named} spreads (limit {found.limit:.1f})"


def _strange(case: ExplainedCase, i: int) -> str:
    return "unlike the training slices" if case.judged and i in case.judged.slices.unlike else ""


def sentence(words: str) -> str:
    """With a capital letter."""
    return f"{words[:1].upper()}{words[1:]}"


def _first_shown(case: ExplainedCase) -> int:
    if case.decision is None:
        return len(case.hu) // 2
    leading = leading_finding(case)
    if leading is not None:  # the picture that opens is of what the first line names
        k = case.labels.index(leading)
        of_it = [i for i in named_slices(case) if leading in case.shown.get(i, ())]
        if of_it:
            return max(of_it, key=lambda i: float(case.final[i, k]))
    return next(iter(case.attention), int(np.argmax(case.final[:, 0])))


def _names(case: ExplainedCase, row: NDArray[np.integer]) -> tuple[str, ...]:
    """The positive subtypes of a slice's reference labels (L,)."""
    return tuple(name for k, name in enumerate(case.labels.subtypes, start=1) if row[k])


@dataclass(frozen=True)
class Verdict:
    """The headline of a page; ``tone`` colours it. ``note`` stands below: why there is no answer, or what the reference says."""

    tone: Literal["alarm", "check", "neutral"]
    headline: str
    note: str = ""


def _verdict(case: ExplainedCase, truth: Truth | None) -> Verdict:
    """A negative decision is never green: it says that nothing reached a threshold, not that nothing is there."""
    if case.decision is None:
        return Verdict("neutral", "Not read" if case.unlike else case_sentence(case), UNREAD)
    if case.no_answer:
        said = said_all_the_same(case)
        why = f"{sentence(case.no_answer)}; for demonstration only: {said[:1].lower()}{said[1:]}"
        return Verdict("neutral", "Not read", f"{UNREAD} {why}")
    said = case_sentence(case)
    if truth is not None and truth.case and not case.decision:
        return Verdict("alarm", "Missed: the reference is positive", f"The system says: {said[:1].lower()}{said[1:]}")
    if truth is not None and not truth.case and case.decision:
        return Verdict("alarm", said, "False alarm: the reference is negative.")
    return Verdict("alarm" if case.decision else "check" if named_slices(case) else "neutral", said)


def _remarks(case: ExplainedCase) -> list[str]:
    """What stands below the headline beside the case score: what contradicts it, and the slices as a PACS counts them."""
    said, named = [], named_slices(case)
    sure = certain_words(case).get(case.labels.any)
    if case.uncertainty is not None and sure not in (None, "supported") and case.labels.any in case.uncertainty.sets:
        said.append(f"{sure} at {100 * case.uncertainty.coverage:g} % coverage")
    if not named:
        over = [i for i in range(len(case.hu)) if _mark(case, i, named) == "check"]
        if over:
            many = len(over) > 1
            said.append(
                f"slice{'s' if many else ''} {stretches(over, range(1, len(case.hu) + 1))} "
                f"reach{'' if many else 'es'} the threshold of a slice, the case does not reach its own: look there"
            )
    numbers = [number for number in case.scan.instance_numbers if number is not None]
    steps = {after > before for before, after in pairwise(numbers)}  # of joined series they start again
    if named and len(numbers) == len(case.hu) and len(steps) == 1 and numbers != list(range(1, len(numbers) + 1)):
        said.append(f"{'named first' if case.decision else 'named'}: InstanceNumber {stretches(named, numbers)}")
    return said


def _scores(case: ExplainedCase, maps: Maps) -> list[dict[str, Any]]:
    tone = "" if case.no_answer else "alarm" if case.decision else "check"
    tones = {name: {"suspected": tone, "possible": "check"}.get(word, "") for name, word in named_words(case).items()}
    rows = []
    for k, label in enumerate(case.labels.columns):
        value = float(case.case_scores[k])
        own = case.threshold if k == 0 else float(case.case_thresholds[k])
        shown = max((i for name, i in maps if name == label), key=lambda i: float(case.final[i, k]), default=None)
        limit = None if np.isnan(own) else own
        rows.append({"label": label, "value": value, "threshold": limit, "tone": tones[label], "shown": shown})
    return rows


def _maps(case: ExplainedCase) -> Maps:
    """The maps that locate something in the head."""
    found = {
        (label, i): map_in_head(attention.map, case.hu[i])
        for i, maps in case.attention.items()
        for label, attention in maps.items()
    }
    return {key: values for key, values in found.items() if values is not None}


def _suspicious(case: ExplainedCase, i: int, truth: Truth | None, fraction: float, maps: Maps) -> dict[str, Any]:
    thresholds = case.slice_thresholds
    reached = [name for name in case.shown[i] if _reaches(case, i, name, thresholds)]
    return {
        "number": i + 1,
        "index": i,
        "uri": ct_uri(case.hu[i], LARGE, case.windows),
        "maps": [
            {
                "label": label,
                "method": m.method,
                "drawing": draw_values(maps.get((label, i)), fraction),
                "hits": hit_words(case.maps, label),
            }
            for label, m in case.attention[i].items()
        ],
        "readings": [
            {
                "label": label,
                "first": float(case.first[i, k]),
                "second": float(case.second[i, k]),
                "slice_threshold": float(thresholds[k]),
                "case_threshold": float(case.case_thresholds[k]),
                "reached": _reaches(case, i, label, thresholds),
                "decides": _reaches(case, i, label, case.case_thresholds),
            }
            for k, label in enumerate(case.labels.columns)
        ],
        "basis": [
            {
                "label": label,
                "below": label not in reached,
                "aside": {True: "", False: "not named", None: "not judged"}[named_for_case(case, label)],
                "reason": case.reasons.get(label),
                "examples": [_example(case, e, fraction) for e in case.basis[i][label]],
                "standing": next((e.standing for e in case.basis[i][label]), None),
            }
            for label in case.basis[i]
        ],
        "truth": _names(case, truth.slices[i]) if truth else None,
        "strange": sentence(_strange(case, i)),
    }


def _reaches(case: ExplainedCase, i: int, label: str, thresholds: NDArray[np.floating]) -> bool:
    k = case.labels.index(label)
    return bool(case.final[i, k] >= thresholds[k])  # never, where the threshold is NaN


def hit_words(maps: MapChoice | None, label: str) -> str:
    """How often the highest maximum of a label's map was right, in one sentence; empty where it was not scored."""
    found = maps.scores.get(label) if maps else None
    if maps is None or found is None or found.hit.value is None:
        return ""
    bounds = (
        "" if found.hit.low is None or found.hit.high is None else f" ({found.hit.low:.0%} to {found.hit.high:.0%})"
    )
    return (
        f"{display_name(label)}: on validation the highest + lay within {maps.tolerance_mm:g} mm of the lesion in "
        f"{found.hit.right} of {found.hit.of} slices, {found.hit.value:.0%}{bounds}."
    )


def _example(case: ExplainedCase, example: BasisExample, fraction: float) -> dict[str, Any]:
    return {
        "uri": ct_uri(example.thumbnail, EXAMPLE, case.windows),
        "drawing": draw_map(example.attention, example.thumbnail, fraction),
        "truth": example.truth,
        "case_id": example.case_id,
        "distance": example.distance,
        "standing": example.standing,
        "unusual": example.standing is not None and example.standing.percentile > UNUSUAL,
    }
