"""How new patients differ from those before: a test a trait, with the false discovery rate held (Benjamini and Hochberg 1995).

Each patient counts once, by the latest study. Nothing is decided by it: a person reads it beside the result of a retraining.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from ich_pipeline.tables.label_tables import UID
from ich_pipeline.tables.labels import Labels

NUMBERS = ("SliceThickness", "spacing_mm", "row_spacing_mm", "slices", "air_share", "soft_share", "hu_median", "hu_p99")
WORDS = ("Manufacturer", "ConvolutionKernel", "PatientSex")
FEWEST = 5  # patients, new and old, below which nothing is tested
RATE = 0.05  # of traits called drifted that are not
COLUMNS = ("trait", "before", "new", "p", "q", "drifted")
DRAWS = 10_000  # of the permutation test of traits in words, whose groups may be small


def drift(
    series: pd.DataFrame,
    slices: pd.DataFrame,
    table: pd.DataFrame,
    labels: Labels,
    new: Collection[str],
    learners: Collection[str],
) -> pd.DataFrame:
    """A row a trait, those that differ most first; no row where either side has too few patients.

    Args:
        series: series table of ingest; its chosen rows count.
        slices: slice table of ingest.
        table: label table.
        labels: label names.
        new: patient_keys of the new patients; all others are those before.
        learners: patient_keys whose labels may be looked at; those of the tests, and of who waits for one, stay sealed.
    """
    patients = _patients(series, slices)
    is_new = patients["patient_key"].isin(set(new)).to_numpy()
    rows: list[tuple[str, str, str, float]] = []
    if min(is_new.sum(), (~is_new).sum()) >= FEWEST:
        rows = [*_numbers(patients, is_new), *_words(patients, is_new)]
    rows += _prevalence(slices, table, labels, set(new), set(learners))
    found = pd.DataFrame(rows, columns=list(COLUMNS[:4]))
    if found.empty:
        return found.reindex(columns=list(COLUMNS))
    from scipy.stats import false_discovery_control

    found["q"] = false_discovery_control(found["p"])
    found["drifted"] = found["q"] < RATE
    return found.sort_values(["q", "p"], kind="stable", ignore_index=True)


def in_words(found: pd.DataFrame, new: int, before: int) -> str:
    """One sentence."""
    if found.empty:
        return f"{new:,} new patients beside {before:,}: too few of one to say whether they differ."
    drifted = found[found["drifted"]]
    each = "; ".join(f"{row.trait} {row.new}, before {row.before} (q {row.q:.2g})" for row in drifted.itertuples())
    return f"{new:,} new patients beside {before:,}: {each or f'no drift in {len(found)} traits'}."


def _patients(series: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
    levels = slices.groupby("case_id")[["hu_median", "hu_p99"]].mean()
    chosen = series[series["chosen"]].merge(levels, left_on="case_id", right_index=True)
    return chosen.sort_values(["StudyDate", "case_id"]).drop_duplicates("patient_key", keep="last")


def _numbers(patients: pd.DataFrame, is_new: np.ndarray) -> list[tuple[str, str, str, float]]:
    from scipy.stats import ks_2samp

    rows = []
    for name in NUMBERS:
        values = patients[name].to_numpy(float)
        new, old = (values[side & np.isfinite(values)] for side in (is_new, ~is_new))
        if min(len(new), len(old)) >= FEWEST:
            rows.append((name, f"{np.median(old):.3g}", f"{np.median(new):.3g}", _p(ks_2samp(new, old))))
    return rows


def _words(patients: pd.DataFrame, is_new: np.ndarray) -> list[tuple[str, str, str, float]]:
    """A permutation test of chi-squared: of the new patients' counts when who is new is drawn at random."""
    draw = np.random.default_rng(0)
    rows = []
    for name in WORDS:
        counts = pd.crosstab(is_new, patients[name].fillna("").replace("", "unknown").to_numpy())
        if counts.shape[1] < 2:
            continue
        both, of_new = counts.sum(axis=0).to_numpy(), counts.loc[True].to_numpy()
        expected = both * (of_new.sum() / both.sum())
        drawn = draw.multivariate_hypergeometric(both, int(of_new.sum()), size=DRAWS)
        far = ((drawn - expected) ** 2 / expected).sum(axis=1)
        p = (1 + (far >= ((of_new - expected) ** 2 / expected).sum() - 1e-9).sum()) / (1 + DRAWS)
        old, new = (f"{row.idxmax()} {row.max() / row.sum():.0%}" for _, row in counts.iterrows())
        rows.append((name, old, new, float(p)))
    return rows


def _prevalence(
    slices: pd.DataFrame, table: pd.DataFrame, labels: Labels, new: set[str], learners: set[str]
) -> list[tuple[str, str, str, float]]:
    from scipy.stats import fisher_exact

    known = slices.loc[slices["patient_key"].isin(learners), ["patient_key", UID]].merge(table, on=UID)
    shown = known.groupby("patient_key")[list(labels.columns)].max()
    is_new = shown.index.isin(new)
    if min(is_new.sum(), (~is_new).sum()) < FEWEST:
        return []
    rows = []
    for name in labels.columns:
        has = shown[name].to_numpy() == 1
        counts = [[int((has & side).sum()), int((~has & side).sum())] for side in (is_new, ~is_new)]
        of_new, before = (f"{positive / (positive + negative):.0%}" for positive, negative in counts)
        rows.append((f"patients with {name}", before, of_new, _p(fisher_exact(counts))))
    return rows


def _p(result: Any) -> float:
    return float(result.pvalue)
