"""How often the finding that a case's sentence names first is there, and how many of the "possible" ones are not.

    python benchmarks/leading_finding.py     # after `make repro`, in the project's top folder

Of the test cases that have a haemorrhage and are suspected. Three ways of ordering the findings that reach their threshold:
by log-odds above it (what the product does), by score ÷ threshold, by the bare score. It looks at the tests' labels.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flows.engine import layout
from ich_pipeline.config import load_params
from ich_pipeline.core.files import read_table
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.explain.case import case_thresholds, margin
from ich_pipeline.tables.schemas import CASE_PREDICTIONS_TABLE, PREDICTIONS_TABLE


def main() -> None:
    """Print one line a test and way."""
    params = load_params()
    ensemble = Ensemble.load(layout.CALIBRATE / "ensemble.json")
    subtypes = list(ensemble.labels.subtypes)
    thresholds = case_thresholds(ensemble)[[ensemble.labels.index(name) for name in subtypes]]
    for test in params.tests:
        folder = layout.EVALUATE / test
        slices = read_table(folder / "slices.parquet", PREDICTIONS_TABLE)
        labels = pd.read_csv(layout.SPLIT / "sealed" / f"{test}.csv")
        truth = slices.merge(labels, on="SOPInstanceUID").groupby("case_id")[subtypes].max() > 0
        cases = read_table(folder / "cases.parquet", CASE_PREDICTIONS_TABLE).set_index("case_id").loc[truth.index]
        chosen = cases["decision"].to_numpy(bool) & truth.any(axis=1).to_numpy()
        scores = cases.loc[chosen, [f"final_{name}" for name in subtypes]].to_numpy()
        there, reached = truth.to_numpy()[chosen], scores >= np.nan_to_num(thresholds, nan=np.inf)
        wrong = float((reached & ~there).sum() / len(scores))
        ways = {"log-odds": margin(scores, thresholds), "ratio": scores / thresholds, "score": scores}
        for way, order in ways.items():
            first = np.where(reached, order, -np.inf).argmax(axis=1)
            right = int((there[np.arange(len(scores)), first] & reached.any(axis=1)).sum())
            print(
                f"{test}, by {way}: first is there in {right} of {len(scores)}; reached but not there {wrong:.1f} a case"
            )


if __name__ == "__main__":
    main()
