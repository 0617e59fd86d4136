"""Which test cases get a page, and the pages' content."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.case import ExplainedCase, explain_case
from ich_pipeline.report.case_page import Truth
from ich_pipeline.report.inputs import Inputs, TestResult
from ich_pipeline.report.worklist import Entry, entry
from ich_pipeline.training.network import Network

KINDS = ("true positive", "false negative", "false positive", "true negative")
LISTED_FAILURES = 10  # a test and kind, worst first, each with a page; failures.csv has all


@dataclass(frozen=True)
class ChosenCase:
    """A test case that gets a page; ``kind`` is one of :data:`KINDS`."""

    test: str
    case_id: str
    kind: str
    score: float


@dataclass(frozen=True)
class CaseLine:
    """What the overview page says of a case that has a page.

    Attributes:
        chosen: which, and of what kind.
        entry: its sentence and the picture of its most suspicious slice, as in the worklist.
        truth: the findings of the reference.
        let_through: by the first reading; a case that was stopped there is not suspected, whatever its score.
    """

    chosen: ChosenCase
    entry: Entry
    truth: tuple[str, ...]
    let_through: bool

    @property
    def wrong(self) -> bool:
        """Whether the system decided against the reference."""
        return self.chosen.kind.startswith("false")


def case_line(chosen: ChosenCase, content: ExplainedCase, truth: Truth, test: TestResult) -> CaseLine:
    """The line of a case that was read and explained."""
    let_through = test.cases.set_index("case_id").loc[chosen.case_id, "let_through"]
    return CaseLine(chosen, entry(content), truth.case, bool(let_through))


def listed_failures(failures: pd.DataFrame) -> pd.DataFrame:
    """What the overview page lists of evaluate's table: the worst :data:`LISTED_FAILURES` of each kind, in its order."""
    return failures.groupby("kind", sort=False).head(LISTED_FAILURES)


def choose_cases(
    cases: pd.DataFrame, failures: pd.DataFrame, any_label: str, test: str, count: int, seed: int
) -> list[ChosenCase]:
    """Cases of every kind in turn, then the listed failures that are not among them, worst first.

    Of each kind first the most telling one, then others drawn at random. The most telling true or false positive has the
    highest score, false negative the lowest; a true negative is drawn at random from the start.

    Args:
        cases: evaluate's case table.
        failures: evaluate's failures, worst first (:func:`~ich_pipeline.evaluation.tables.case_failures`).
        any_label: name of "any".
        test: name of the test cohort.
        count: how many of every kind in turn; up to twice :data:`LISTED_FAILURES` more have failed.
        seed: of the drawing.
    """
    random = np.random.default_rng(seed)
    scores = cases[f"final_{any_label}"].to_numpy(np.float64)
    truth, decision = cases[f"truth_{any_label}"].to_numpy(bool), cases["decision"].to_numpy(bool)
    groups = {
        "true positive": (truth & decision, -scores),
        "false negative": (truth & ~decision, scores),
        "false positive": (~truth & decision, -scores),
        "true negative": (~truth & ~decision, None),
    }
    queues: dict[str, list[int]] = {}
    for kind, (members, order) in groups.items():
        rows = np.flatnonzero(members)
        rest = random.permutation(rows)
        first = [] if order is None or not len(rows) else [int(rows[np.argmin(order[rows])])]
        queues[kind] = first + [int(r) for r in rest if int(r) not in first]
    chosen: list[ChosenCase] = []
    while len(chosen) < count and any(queues.values()):
        for kind in KINDS:
            if queues[kind] and len(chosen) < count:
                row = queues[kind].pop(0)
                chosen.append(ChosenCase(test, str(cases["case_id"].iloc[row]), kind, float(scores[row])))
    already = {case.case_id for case in chosen}
    chosen += [
        ChosenCase(test, str(row["case_id"]), str(row["kind"]), float(row["score"]))
        for row in listed_failures(failures).to_dict("records")
        if str(row["case_id"]) not in already
    ]
    return chosen


def explained(
    inputs: Inputs, test: TestResult, case_id: str, network: Network, explainer: Explainer
) -> tuple[ExplainedCase, Truth]:
    """A test case as :func:`ich_pipeline.report.case_page.case_page` shows it, from evaluate's own predictions."""
    params, labels = inputs.params, inputs.labels
    volume = inputs.volume(case_id)
    size = network.spec.image_size
    rows = inputs.window_rows.loc[list(volume.uids)].to_numpy()
    case = explain_case(
        case_id=case_id,
        sop_instance_uids=volume.uids,
        hu=volume.hu,
        positions_mm=volume.positions_mm,
        reading=inputs.reading(test, case_id, volume.uids),
        networks={params.explain.architecture: network},
        images={size: np.asarray(inputs.images(size)[rows])},
        atlas=inputs.atlas,
        maps=inputs.maps,
        labels=labels,
        explain=params.explain,
        windows=params.windowing.windows,
        ensemble=inputs.ensemble,
        explainer=explainer,
    )
    truth = inputs.truth(test, volume.uids)
    names = tuple(n for k, n in enumerate(labels.subtypes, start=1) if truth[:, k].any())
    return replace(case, scan=volume.scan), Truth(names, truth)
