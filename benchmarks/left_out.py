"""Is a haemorrhage of a kind that no training scan shows noticed as strange? `python benchmarks/left_out.py`, after `make repro`.

For each subtype: the scans of training and validation that show it are left out of the description (stage precedent) and of its limit,
and the scans of both tests are judged. Prints the share not read of those that show it, of other haemorrhages, and of scans
without. The network is the one of the run, which has learned the subtype. With `--retrain` the network that explains learns anew,
as params.yaml says, without these scans: some minutes for each subtype. Names of subtypes choose these. Nothing is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.engine import layout
from flows.networks import spec_of
from flows.precedent import Material, scans_of
from flows.train import sentence
from ich_pipeline.config import load_params
from ich_pipeline.core.progress import terminal
from ich_pipeline.precedent.model import fit_precedent
from ich_pipeline.precedent.scan_numbers import looked_at
from ich_pipeline.precedent.scans import Scans
from ich_pipeline.training.data import CohortSlices, hu_file, load_cohort
from ich_pipeline.training.fit import fit, start_network
from ich_pipeline.training.network import Network
from ich_pipeline.training.order import fix_order

TESTS = ("test_retrospective", "test_prospective")
LEARN = ("train", "validation")


def main(subtypes: Sequence[str], retrain: bool) -> None:
    """Print a row for each subtype, before them one for nothing left out."""
    params = load_params()
    fix_order(params.explain.architecture)
    material = Material.of(params, terminal)
    index = material.index
    cases = index[["case_id", "patient_key", "cohort"]].drop_duplicates("case_id").reset_index(drop=True)
    kept = cases["cohort"].isin((*LEARN, *TESTS))
    cases = cases[kept].reset_index(drop=True)
    labels = pd.read_csv(layout.LABELS).set_index("SOPInstanceUID")
    truth = labels.loc[index["SOPInstanceUID"]].groupby(index["case_id"].to_numpy()).max().loc[cases["case_id"]]
    scans = scans_of(material, cases)
    tested = cases["cohort"].isin(TESTS).to_numpy()
    bleeds = truth[params.label_set.any].to_numpy() > 0
    print("| left out | scans with it not read | other haemorrhages | without |\n|---|---:|---:|---:|")
    for subtype in ("", *(subtypes or params.label_set.subtypes)):
        shows = truth[subtype].to_numpy() > 0 if subtype else np.zeros(len(cases), bool)
        seen = scans
        if retrain and subtype:
            network = learned_without(material, set(cases["case_id"][shows]))
            seen = seen_by(network, material, cases, scans)
        learned = seen.of((cases["cohort"] == "train").to_numpy() & ~shows)
        held_out = seen.of((cases["cohort"] == "validation").to_numpy() & ~shows)
        precedent = fit_precedent(material.seen, learned, held_out, params.precedent.false_alarms)
        away = np.array([bool(one.unlike) for one in precedent.judge_all(seen.of(tested))])
        groups = (shows[tested], (bleeds & ~shows)[tested], ~bleeds[tested])
        words = [f"{away[group].sum()} of {group.sum()}" if group.any() else "–" for group in groups]
        print(f"| {subtype or 'nothing'} | {' | '.join(words)} |", flush=True)


def learned_without(material: Material, unknown: set[str]) -> Network:
    """The network that explains, trained as stage train does, but without some cases."""
    params = material.params
    name = params.explain.architecture
    settings = params.networks[name]
    if settings.is_frozen:
        raise SystemExit(f"{name} is frozen in params.yaml: its features know no label, and --retrain changes nothing.")
    train, validation = (without(_cohort(material, cohort), unknown) for cohort in LEARN)
    network = start_network(spec_of(params, name, params.windowing.windows), train, params.training)
    result = fit(network, train, validation, settings, params.training, track=material.track)
    print(f"<!-- {len(train)} and {len(validation)} slices; {sentence(name, result.best)} -->", flush=True)
    return network


def _cohort(material: Material, cohort: str) -> CohortSlices:
    params = material.params
    size = params.networks[params.explain.architecture].image_size
    return load_cohort(layout.WINDOW, size, cohort, layout.SPLIT / "labels" / f"{cohort}.csv", params.label_set)


def without(slices: CohortSlices, unknown: set[str]) -> CohortSlices:
    """A cohort without some of its cases."""
    kept = ~slices.table["case_id"].isin(unknown).to_numpy()
    moved = np.where(kept, np.cumsum(kept) - 1, -1)
    # Neighbours are of the same case, and so stay or go with it.
    neighbours = np.where(slices.neighbours < 0, -1, moved[slices.neighbours])[kept]
    table = slices.table[kept].reset_index(drop=True)
    return CohortSlices(table, slices.hu.of(table["row"].to_numpy()), neighbours, slices.truth[kept])


def seen_by(network: Network, material: Material, cases: pd.DataFrame, scans: Scans) -> Scans:
    """The same scans in the features of another network."""
    index = material.index.sort_values("row")
    rows_of = {case: rows["row"].to_numpy() for case, rows in index.groupby("case_id", sort=False)}
    rows: NDArray[np.integer] = np.concatenate(
        [rows_of[case][looked_at(len(rows_of[case]))] for case in cases["case_id"]]
    )
    hu = np.load(layout.WINDOW / hu_file(network.spec.image_size), mmap_mode="r")
    return replace(scans, features=network.run_batched(network.pooled_features(), hu[rows])[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("subtypes", nargs="*", help="those left out; none: each in its turn")
    parser.add_argument("--retrain", action="store_true", help="with a network that has not learned the subtype")
    given = parser.parse_args()
    main(given.subtypes, given.retrain)
