"""The worklist of ``ich predict``: every study of a run on one offline page, the most suspicious first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from ich_pipeline.explain.case import ExplainedCase
from ich_pipeline.explain.sentence import case_sentence
from ich_pipeline.report.pictures import at_head, ct_uri, window_filters
from ich_pipeline.report.render import render
from ich_pipeline.windowing.windows import WindowLike

FILE = "index.html"
THUMBNAIL = 112  # pixels
MARK = '<meta name="generator" content="ich worklist">'  # by which a page of an earlier run is known from a user's own


@dataclass(frozen=True)
class Entry:
    """One study.

    Attributes:
        case_id: its page is ``<case_id>.html``.
        sentence: :func:`ich_pipeline.explain.sentence.case_sentence`.
        suspected: the decision; None where there is no answer.
        score: case score of "any"; NaN where there is no answer.
        thumbnail: data URI of the most suspicious slice, of the middle one where there is no answer.
        slice: its number, from 1; and how many there are.
        slices: how many there are.
        cautions: of the scan.
        study_date: ``YYYY-MM-DD``, where identifiers were asked for.
        age: how old the study is, in words; empty where the date is not shown, or is none.
        demonstration: there is no answer, and the score is shown all the same.
    """

    case_id: str
    sentence: str
    suspected: bool | None
    score: float
    thumbnail: str
    slice: int
    slices: int
    cautions: tuple[str, ...]
    study_date: str = ""
    age: str = ""
    demonstration: bool = False


def entry(case: ExplainedCase, cautions: Sequence[str] = (), study_date: str = "", today: date | None = None) -> Entry:
    """The line of a case that was read.

    Args:
        case: read and explained.
        cautions: of the scan.
        study_date: ``YYYY-MM-DD`` or empty.
        today: from which the study's age is counted; None: no age.
    """
    known = case.decision is not None
    index = int(np.argmax(case.final[:, 0])) if known else len(case.hu) // 2
    return Entry(
        case_id=case.case_id,
        sentence=case_sentence(case),
        suspected=case.decision,
        score=float(case.case_scores[0]),
        thumbnail=ct_uri(at_head(case.hu[index]), THUMBNAIL, case.windows),
        slice=index + 1,
        slices=len(case.hu),
        cautions=tuple(cautions),
        study_date=study_date,
        age=age(study_date, today) if today else "",
        demonstration=known and bool(case.no_answer),
    )


def age(study_date: str, today: date) -> str:
    """``today``, ``3 days``, ``5 months``, ``2 years`` old; empty where the date is none, or lies ahead.

    Args:
        study_date: ``YYYY-MM-DD``.
        today: the day that counts as today.
    """
    try:
        days = (today - date.fromisoformat(study_date)).days
    except ValueError:
        return ""
    if days < 0:
        return ""
    for name, length, least in (("year", 365.25, 2), ("month", 30.4375, 2), ("day", 1, 1)):
        if days >= least * length:
            count = int(days / length)
            return f"{count} {name}{'s' if count > 1 else ''} old"
    return "today"


def worklist(
    entries: Sequence[Entry],
    failures: Mapping[str, str],
    model: str,
    windows: Sequence[WindowLike],
    *,
    caution: str = "",
    label: str = "any",
) -> str:
    """The page: suspected studies first, by score; then the others; then those without an answer; then failures.

    Args:
        entries: of the studies that were read, in any order.
        failures: case_id → why it could not be read.
        model: name and version.
        windows: for display, the first is shown.
        caution: what the tests of the version do not show.
        label: name of the first label.
    """
    order = sorted(
        entries,
        key=lambda one: (
            one.suspected is None,
            one.demonstration,
            not one.suspected,
            -np.nan_to_num(one.score),
            one.case_id,
        ),
    )
    return render(
        "worklist.html.j2",
        mark=MARK,
        entries=order,
        dated=any(one.study_date for one in entries),
        failures=sorted(failures.items()),
        suspected=sum(1 for one in entries if one.suspected and not one.demonstration),
        without_answer=sum(1 for one in entries if one.suspected is None or one.demonstration),
        model=model,
        caution=caution,
        label=label,
        filters=window_filters(windows)[:1],
    )


def is_worklist(content: bytes) -> bool:
    """Is a file of this content a worklist of an earlier run?"""
    return MARK.encode() in content[:1000]
