"""What is kept of a version's reading of a test, a row a case, so that later versions can be compared with it case by case.

No identifier is in it. A case and a patient are HMACs under a key made of the test's sealed label file: who lacks that file
can try no number, and whoever reads the same test gets the same names, on any machine, with no secret to look after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import SubgroupParams
from ich_pipeline.core.files import read_versioned, write_json
from ich_pipeline.deidentify.key import Key
from ich_pipeline.evaluation.metrics import ECE_BINS, calibration_gaps
from ich_pipeline.evaluation.subgroups import UNKNOWN, bands

SCHEMA = "case_scores/1"
GROUPS = ("Manufacturer", "sex", "slice thickness", "age")
GAPS = tuple(f"gap_{k}" for k in range(ECE_BINS))


@dataclass(frozen=True)
class CaseScores:
    """One version on one test.

    Attributes:
        test: its name.
        test_set: SHA-256 of its sealed label file, as in the test ledger: which slices, and what they show.
        cautions: what the version's tests do not show, a sentence each.
        cases: a row a case in the order of ``case``: ``case``, ``patient`` (keyed), ``truth`` (of "any"), ``score`` (to rank
            by; -inf where the first reading did not let the case through), ``called`` (the case decision), ``slices``
            (labelled ones), ``squared`` (sum of their squared errors), :data:`GAPS` (sums of score less truth, by bin of the
            score), and of :data:`GROUPS` the subgroup, empty where it has too few patients or is not stated.
    """

    test: str
    test_set: str
    cautions: tuple[str, ...]
    cases: pd.DataFrame

    def save(self, path: Path) -> None:
        """Write JSON; equal readings give equal bytes."""
        kept = self.cases.to_dict("list")
        kept["score"] = [None if score == -np.inf else score for score in kept["score"]]
        write_json(
            path,
            {
                "schema": SCHEMA,
                "test": self.test,
                "test_set": self.test_set,
                "cautions": list(self.cautions),
                "cases": kept,
            },
        )

    @classmethod
    def load(cls, path: Path) -> CaseScores:
        """Inverse of :meth:`save`; InputError where the file is of another schema."""
        found = read_versioned(path, SCHEMA, "`python -m flows.register` writes it anew")
        cases = pd.DataFrame(found["cases"])
        cases["score"] = cases["score"].astype(np.float64).fillna(-np.inf)
        return cls(found["test"], found["test_set"], tuple(found["cautions"]), cases)


def case_scores(
    test: str,
    labels: bytes,
    cases: pd.DataFrame,
    slices: pd.DataFrame,
    facts: pd.DataFrame,
    any_label: str,
    params: SubgroupParams,
    cautions: Sequence[str] = (),
) -> CaseScores:
    """Of the tables that evaluate wrote.

    Args:
        test: its name.
        labels: the bytes of its sealed label file.
        cases, slices: of :mod:`ich_pipeline.evaluation.tables`.
        facts: of :func:`ich_pipeline.evaluation.subgroups.case_facts`, in the order of ``cases``.
        any_label: the label of any haemorrhage.
        params: edges of the subgroups, and below how many patients none is named.
        cautions: what the tests do not show.
    """
    key = Key(hashlib.sha256(b"names of cases\0" + labels).digest())
    known = slices.loc[slices[f"truth_{any_label}"].notna()]
    score, truth = known[f"final_{any_label}"].to_numpy(np.float64), known[f"truth_{any_label}"].to_numpy(np.int64)
    of_slices = pd.DataFrame(calibration_gaps(score, truth), columns=list(GAPS))
    of_slices = of_slices.assign(slices=1, squared=(score - truth) ** 2).groupby(known["case_id"].to_numpy()).sum()
    final, stopped = cases[f"final_{any_label}"].to_numpy(np.float64), ~cases["let_through"].to_numpy(bool)
    table = pd.DataFrame(
        {
            "case": [key.token("case", one) for one in cases["case_id"]],
            "patient": [key.token("patient", one) for one in cases["patient_key"]],
            "truth": cases[f"truth_{any_label}"].to_numpy(np.int64),
            "score": np.where(stopped, -np.inf, final),
            "called": cases["decision"].to_numpy(bool),
        }
    )
    table = pd.concat([table, of_slices.reindex(cases["case_id"]).reset_index(drop=True)], axis=1)
    for name, groups in _groups(facts, params).items():
        table[name] = groups
        patients = table.groupby(name)["patient"].transform("nunique")
        table.loc[patients < params.minimum_patients, name] = ""
    table = table.sort_values("case", ignore_index=True)
    return CaseScores(test, hashlib.sha256(labels).hexdigest(), tuple(cautions), table)


def _groups(facts: pd.DataFrame, params: SubgroupParams) -> dict[str, NDArray[Any]]:
    """The subgroup of each case by :data:`GROUPS`, as :func:`ich_pipeline.evaluation.subgroups.subgroup_rows` names them."""
    found: dict[str, NDArray[Any]] = {name: facts[name].to_numpy(object) for name in ("Manufacturer", "sex")}
    for name, column, edges, unit in (
        ("slice thickness", "thickness_mm", params.thickness_mm, "mm"),
        ("age", "age_years", params.age_years, "years"),
    ):
        found[name] = np.full(len(facts), "", dtype=object)
        for band, members in bands(facts[column].to_numpy(float), edges, unit).items():
            found[name][members] = "" if band == UNKNOWN else band
    return found
