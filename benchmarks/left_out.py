"""Is a haemorrhage of a kind that no training scan shows noticed as strange? `python benchmarks/left_out.py`, after `make repro`.

For each subtype: the scans of training and validation that show it are left out of the description (stage precedent) and of its limit,
and the scans of both tests are judged. Prints the share not read of those that show it, of other haemorrhages, and of scans
without. The network is the one of the run, which has learned the subtype: one that has not may see less of it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flows.engine import layout
from flows.precedent import Material, scans_of
from ich_pipeline.config import load_params
from ich_pipeline.core.progress import terminal
from ich_pipeline.precedent.model import fit_precedent

TESTS = ("test_retrospective", "test_prospective")


def main() -> None:
    params = load_params()
    material = Material.of(params, terminal)
    index = material.index
    cases = index[["case_id", "patient_key", "cohort"]].drop_duplicates("case_id").reset_index(drop=True)
    kept = cases["cohort"].isin(("train", "validation", *TESTS))
    cases = cases[kept].reset_index(drop=True)
    labels = pd.read_csv(layout.LABELS).set_index("SOPInstanceUID")
    truth = labels.loc[index["SOPInstanceUID"]].groupby(index["case_id"].to_numpy()).max().loc[cases["case_id"]]
    scans = scans_of(material, cases)
    tested = cases["cohort"].isin(TESTS).to_numpy()
    bleeds = truth[params.label_set.any].to_numpy() > 0
    print("| left out | scans with it not read | other haemorrhages | without |\n|---|---:|---:|---:|")
    for subtype in ("", *params.label_set.subtypes):
        shows = truth[subtype].to_numpy() > 0 if subtype else np.zeros(len(cases), bool)
        learned = scans.of((cases["cohort"] == "train").to_numpy() & ~shows)
        held_out = scans.of((cases["cohort"] == "validation").to_numpy() & ~shows)
        precedent = fit_precedent(material.seen, learned, held_out, params.precedent.false_alarms)
        away = np.array([bool(one.unlike) for one in precedent.judge_all(scans.of(tested))])
        groups = (shows[tested], (bleeds & ~shows)[tested], ~bleeds[tested])
        words = [f"{away[group].sum()} of {group.sum()}" if group.any() else "–" for group in groups]
        print(f"| {subtype or 'nothing'} | {' | '.join(words)} |", flush=True)


if __name__ == "__main__":
    main()
