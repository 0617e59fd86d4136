"""How often the watch over served cases cries wolf, and after how many cases it finds a planted shift.

    python benchmarks/watch.py [repeats] [cases a year]

after `make repro`, whose cases it reads: validation and both tests, each with measurements, scores and facts of its series. They are
the pool. Of every repeat the reference is drawn from it, as many cases as validation has, and so is what is served: both with
replacement and of the same prevalence, so that in the stable years nothing but chance differs.

Shifts of the pictures are made of the Hounsfield units that the networks see, and measured anew: the 16 numbers of a scan. Scores
and the two distances to the training slices stay as they were, so that what they would add is not in the delays.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from flows.engine import layout
from flows.precedent import Material, scans_of
from ich_pipeline.config import WatchParams, load_params
from ich_pipeline.core.files import read_table
from ich_pipeline.core.progress import quiet
from ich_pipeline.dicom.makers import maker
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.precedent.model import FILE, NAMES, Precedent
from ich_pipeline.precedent.scan_numbers import NAMES as NUMBERS
from ich_pipeline.precedent.scan_numbers import looked_at, measure_cases
from ich_pipeline.tables.schemas import CASE_PREDICTIONS_TABLE, SERIES_TABLE, VALIDATION_SCORES
from ich_pipeline.watch.compare import look
from ich_pipeline.watch.measurements import case_scores, of_served
from ich_pipeline.watch.record import Served

PREVALENCE = 0.2  # of the stable years; the phantom's own is higher
NEW = 0.3  # share of cases that a new scanner makes
LONGEST = 2000  # cases after which a shift counts as not found
SEED = 18
Pool = tuple[list[Served], NDArray[np.bool_]]  # lines, and which of them bleed


def main(repeats: int, cases_a_year: int) -> None:
    """Print the table."""
    params = load_params()
    settings = params.watch.model_copy(update={"cases_a_year": cases_a_year})
    material = Material.of(params, quiet)
    cases = _cases(params.tests, params.labels.any)
    plain = scans_of(material, cases)
    precedent = Precedent.load(layout.PRECEDENT / FILE)
    described, away = precedent._described(plain), [one.unlike for one in precedent.judge_all(plain)]
    held = int((cases["cohort"] == "validation").sum())
    bleeds = cases["truth"].to_numpy(bool)
    stable = _lines(cases, described, [bool(one) for one in away])
    print(f"Pool: {len(cases)} cases, {int(bleeds.sum())} bleed; reference: {held}; windows {settings.windows}; ")
    print(f"{settings.cases_a_year} cases a year, {settings.false_alarms_a_year} false alarms a year allowed.\n")
    _cache_ks()
    _stable((stable, bleeds), held, settings, repeats)
    kinds: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "a sharper kernel": _sharper,
        "+5 HU": lambda hu: np.clip(hu + 5.0, material.lowest, material.highest),
        "both": lambda hu: np.clip(_sharper(hu) + 5.0, material.lowest, material.highest),
    }
    shifted = {name: _lines(cases, _measured(material, cases, described, of), None) for name, of in kinds.items()}
    changed = [
        replace(line, manufacturer="Philips", thickness_mm=2.5, slices=2 * (line.slices or 0))
        for line in shifted["both"]
    ]
    print("| from the first case on | found | cases until then: median | 90 % |")
    print("|---|---:|---:|---:|")
    scenarios: dict[str, tuple[Sequence[Served], float, float]] = {
        "a sharper kernel": (shifted["a sharper kernel"], 1.0, PREVALENCE),
        "+5 HU": (shifted["+5 HU"], 1.0, PREVALENCE),
        "twice the prevalence": (stable, 1.0, 2 * PREVALENCE),
        f"a new scanner, {NEW:.0%} of cases": (changed, NEW, PREVALENCE),
    }
    for name, (other, share, prevalence) in scenarios.items():
        delays = [
            _delay((stable, bleeds), other, share, prevalence, held, settings, SEED + 1000 + k) for k in range(repeats)
        ]
        found = [delay for delay in delays if delay is not None]
        ends = [np.inf if delay is None else delay for delay in delays]
        median, most = (np.quantile(ends, q, method="higher") for q in (0.5, 0.9))
        print(f"| {name} | {len(found)} of {repeats} | {median:g} | {most:g} |", flush=True)


def _cases(tests: Sequence[str], any_label: str) -> pd.DataFrame:
    """case_id, patient_key, cohort, truth, suspected, scores, and facts of the series."""
    ensemble = Ensemble.load(layout.CALIBRATE / "ensemble.json")
    labels = ensemble.labels
    found = []
    for test in tests:
        table = read_table(layout.EVALUATE / test / "cases.parquet", CASE_PREDICTIONS_TABLE)
        table = table.rename(columns={f"final_{name}": name for name in labels.columns} | {"decision": "suspected"})
        table["truth"] = table[f"truth_{any_label}"]
        found.append(table[["case_id", "patient_key", "suspected", "truth", *labels.columns]].assign(cohort=test))
    slices = read_table(layout.CALIBRATE / "validation.parquet", VALIDATION_SCORES)
    names, scores, suspected = case_scores(ensemble, slices, layout.WINDOW)
    truth = pd.read_csv(layout.SPLIT / "labels" / "validation.csv").set_index("SOPInstanceUID")[any_label]
    of_case = slices.assign(truth=truth.reindex(slices["SOPInstanceUID"]).to_numpy()).groupby("case_id")["truth"].max()
    patients = slices.drop_duplicates("case_id").set_index("case_id")["patient_key"]
    table = pd.DataFrame(scores, columns=list(labels.columns)).assign(case_id=names, suspected=suspected)
    table = table.assign(truth=of_case.reindex(names).to_numpy(), patient_key=patients.reindex(names).to_numpy())
    every = pd.concat([*found, table.assign(cohort="validation")], ignore_index=True)
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    facts = series[series["chosen"]].drop_duplicates("case_id").set_index("case_id")
    columns = ["SliceThickness", "slices", "kernel_class", "Manufacturer"]
    return every.join(facts[columns], on="case_id")


def _lines(cases: pd.DataFrame, described: NDArray[np.float64], away: Sequence[bool] | None) -> list[Served]:
    """Of the cases in their order. ``away``: which are not read; None: none of them."""
    labels = [column for column in cases.columns if column in load_params().label_set.columns]
    found = []
    for k, row in enumerate(cases.to_dict("records")):
        read = away is None or not away[k]
        outcome = ("suspected" if row["suspected"] else "not suspected") if read else "not read"
        measured = {name: None if np.isnan(v) else float(v) for name, v in zip(NAMES, described[k], strict=True)}
        found.append(
            Served(
                time="2026-01-01T00:00:00+00:00",
                by="predict",
                model="",
                version=1,
                case=str(k),
                patient=str(k),
                accession="",
                outcome=outcome,
                scores={name: float(row[name]) for name in labels} if read else None,
                called={},
                measured=measured,
                reasons={"used": int(row["slices"])},
                slices=int(row["slices"]),
                thickness_mm=float(row["SliceThickness"]),
                kernel=row["kernel_class"],
                manufacturer=maker(row["Manufacturer"]),
            )
        )
    return found


def _sharper(hu: NDArray[Any]) -> NDArray[Any]:
    """Half of what a blur by a pixel takes away is added: edges and grain of a sharper kernel."""
    picture = hu.astype(np.float64)
    return picture + 0.5 * (picture - gaussian_filter(picture, 1.0))


def _measured(
    material: Material, cases: pd.DataFrame, described: NDArray[np.float64], of: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.float64]:
    """``described`` with the numbers of changed pictures."""
    every = np.load(material.array, mmap_mode="r")
    rows_of = {case: rows["row"].to_numpy() for case, rows in material.index.sort_values("row").groupby("case_id")}
    rows = [rows_of[case][looked_at(len(rows_of[case]))] for case in cases["case_id"]]
    starts = np.cumsum([0, *map(len, rows)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changed.npy"
        changed = [np.rint(np.clip(of(every[row]), material.lowest, material.highest)) for row in np.concatenate(rows)]
        np.save(path, np.stack(changed).astype(np.int16))
        places = [np.arange(*ends) for ends in pairwise(starts)]
        numbers = measure_cases(path, places, material.lowest, material.highest, 1)
    return np.concatenate([numbers, described[:, len(NUMBERS) :]], axis=1)


def _drawn(pool: Pool, count: int, prevalence: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Places in the pool."""
    bleeding = rng.uniform(size=count) < prevalence
    return np.where(bleeding, rng.choice(np.flatnonzero(pool[1]), count), rng.choice(np.flatnonzero(~pool[1]), count))


def _stable(pool: Pool, held: int, settings: WatchParams, repeats: int) -> None:
    """Two years of each repeat."""
    rows = []
    for k in range(repeats):
        rng = np.random.default_rng(SEED + k)
        reference = of_served([pool[0][i] for i in _drawn(pool, held, PREVALENCE, rng)])
        served = [pool[0][i] for i in _drawn(pool, 2 * settings.cases_a_year, PREVALENCE, rng)]
        alarms = dict.fromkeys(settings.windows, 0)
        for window in settings.windows:
            for end in range(window, len(served) + 1, window):
                found = look(served[end - window : end], window, reference, settings)
                alarms[window] += bool(found and found.moved)
        rows.append(alarms)
    table = pd.DataFrame(rows)
    years = 2 * repeats
    by_year = table.sum(axis=1) / 2
    print("| windows of | looks a year | false alarms a year |")
    print("|---|---:|---:|")
    for window in settings.windows:
        print(f"| {window} cases | {settings.cases_a_year / window:g} | {table[window].sum() / years:.3f} |")
    print(f"| all | | {by_year.mean():.3f}, at most {by_year.max():g} in one of {repeats} repeats of two years |\n")
    more = int((by_year > 1).sum())
    print(f"More than one false alarm a year: {more} of {repeats} repeats.\n", flush=True)


def _delay(
    pool: Pool, other: Sequence[Served], share: float, prevalence: float, held: int, settings: WatchParams, seed: int
) -> int | None:
    """Cases until the first alarm; None where there is none."""
    rng = np.random.default_rng(seed)
    reference = of_served([pool[0][i] for i in _drawn(pool, held, PREVALENCE, rng)])
    places, new = _drawn(pool, LONGEST, prevalence, rng), rng.uniform(size=LONGEST) < share
    served = [other[i] if is_new else pool[0][i] for i, is_new in zip(places, new, strict=True)]
    for end in range(settings.windows[0], LONGEST + 1, settings.windows[0]):
        for window in settings.windows:
            found = look(served[end - window : end], window, reference, settings) if end % window == 0 else None
            if found and found.moved:
                return end
    return None


def _cache_ks() -> None:
    """Of the test that takes most of the time p is computed once: it depends on sizes and statistic alone."""
    original = scipy.stats.ks_2samp
    known: dict[tuple[int, int, int], Any] = {}

    def cached(a: NDArray[np.float64], b: NDArray[np.float64]) -> Any:
        every = np.concatenate([a, b])
        apart = np.searchsorted(a, every, "right") / len(a) - np.searchsorted(b, every, "right") / len(b)
        key = (len(a), len(b), round(np.abs(apart).max() * _common(len(a), len(b))))
        if key not in known:
            known[key] = original(a, b)
        return known[key]

    scipy.stats.ks_2samp = cached  # type: ignore[assignment]


@lru_cache
def _common(a: int, b: int) -> int:
    return lcm(a, b)


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*(given + [20, 5000][len(given) :]))
