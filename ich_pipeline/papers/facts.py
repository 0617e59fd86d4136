"""What a run says of itself: the values that cards, change plan and checklists are filled from. Counts and settings alone,
no identifier of a patient, a study or a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ich_pipeline.baselines.hu_rule import member_title
from ich_pipeline.core.files import read_table
from ich_pipeline.report.case_page import RULES
from ich_pipeline.report.cautions import cautions
from ich_pipeline.report.inputs import Inputs, TestResult
from ich_pipeline.report.metrics import as_text, merged
from ich_pipeline.report.render import display_name
from ich_pipeline.splits.fold_table import read_folds
from ich_pipeline.splits.frozen import Manifest, read_manifest
from ich_pipeline.tables.ages import age_years
from ich_pipeline.tables.cohort_names import TESTS, TRAIN, VALIDATION
from ich_pipeline.tables.reader_tables import SIMULATED
from ich_pipeline.tables.schemas import COHORTS_TABLE

OLDEST = 90  # years: whoever is older counts as that old, or an age alone tells who it is (45 CFR 164.514(b)(2)(i)(C))
SEXES = {"F": "Female", "M": "Male"}


@dataclass(frozen=True)
class Cohort:
    """One cohort, counted.

    Attributes:
        ages: lowest and highest in whole years, at most :data:`OLDEST`; None where few patients have one.
        sexes: patients by sex; empty where one of them would stand for few patients.
        positives: cases with any finding; None where nobody may know.
    """

    name: str
    patients: int
    cases: int
    slices: int
    ages: tuple[int, int] | None
    sexes: dict[str, int]
    positives: int | None


def facts(inputs: Inputs) -> dict[str, Any]:
    """All values, by the names that templates and tables know them by."""
    params, ensemble = inputs.params, inputs.ensemble
    chosen = inputs.series[inputs.series["chosen"]]
    account = inputs.account
    combiner = ensemble.second_reading.combiner
    thickness = chosen["SliceThickness"].dropna()
    readers = {one["reader"] for test in inputs.tests for rows in test.readers["labels"].values() for one in rows}
    placed = read_table(inputs.folders.split / "cohorts.parquet", COHORTS_TABLE)
    blocks = merged({test.name: test.metrics for test in inputs.tests})
    return {
        "p": params,
        "validate": params.validate_,
        "any": params.labels.any,
        "subtypes": [name.replace("_", " ") for name in params.labels.subtypes],
        "synthetic": inputs.folders.synthetic,
        "origin": inputs.origin,
        "folded": len(read_folds(inputs.folders.split / "folds.parquet")) > 0,
        "frozen": _frozen(read_manifest(inputs.folders.frozen)),
        "patients": int(chosen["patient_key"].nunique()),
        "in_no_cohort": len(
            set(chosen["patient_key"]) - set(chosen.loc[chosen["case_id"].isin(placed["case_id"]), "patient_key"])
        ),
        "slices": len(inputs.slices),
        "manufacturers": sorted(set(chosen["Manufacturer"]) - {""}),
        "thickness": f"{' to '.join(f'{mm:g}' for mm in sorted({*thickness.agg(['min', 'max'])}))} mm"
        if len(thickness)
        else "",
        "files": len(account),
        "used": int((account["status"] == "used").sum()),
        "left_out": _left_out(account),
        "cohorts": {one.name: one for one in _cohorts(inputs, chosen, placed)},
        "members": [member_title(name) for name in combiner.members],
        "combiner": combiner.kind.replace("_", " "),
        "degrees": {
            name: degree for name, degree in ensemble.degrees.items() if name in combiner.members and degree > 0
        },
        "case_score": RULES[ensemble.case_score.rule],
        "point": ensemble.decision.replace("_", " "),
        "threshold": f"{ensemble.decision_threshold:.4f}",
        "gate_threshold": f"{ensemble.gate_threshold:.4f}",
        "chosen_on": inputs.calibrated["chosen_on"],
        "heads_alone": all(params.networks[name].is_frozen for name in params.architectures),
        "pretrained": inputs.origin.pretrained_on_synthetic,
        "tests": [_test(inputs, test) for test in inputs.tests],
        "cautions": [*inputs.cautions, *cautions(blocks, params.tests, params.labels.any)],
        "readers": sorted(name for name in readers if not name.startswith(SIMULATED)),
        "readers_are_reference": inputs.folders.readers_are_reference,
        "outlined": len(inputs.masks) > 0,
    }


def _frozen(manifest: Manifest) -> dict[str, Any]:
    """The tests that were drawn once and are kept; empty while every run draws them anew."""
    if not manifest.active:
        return {}
    return {
        "tests": ", ".join(f"{test.called} of {test.date}" for test in manifest.active.values()),
        "size": manifest.size,
        "share": 100 * manifest.share,
    }


def _left_out(account: pd.DataFrame) -> dict[str, int]:
    counts = account.loc[account["status"] != "used", "reason"].value_counts()
    return {str(reason): int(counts[reason]) for reason in sorted(counts.index)}


def _cohorts(inputs: Inputs, chosen: pd.DataFrame, placed: pd.DataFrame) -> Iterator[Cohort]:
    minimum = inputs.params.evaluation.subgroups.minimum_patients
    people = chosen.merge(placed[["case_id", "cohort"]], on="case_id").drop_duplicates("patient_key")
    for row in inputs.cohorts.to_dict("records"):
        name = str(row["cohort"])
        those = people[people["cohort"] == name]
        ages = those["PatientAge"].map(age_years).dropna().clip(upper=OLDEST)
        sexes = {words: int((those["PatientSex"] == code).sum()) for code, words in SEXES.items()}
        yield Cohort(
            name=name,
            patients=int(row["patients"]),
            cases=int(row["cases"]),
            slices=int(row["slices"]),
            ages=(int(ages.min()), int(ages.max())) if len(ages) >= minimum else None,
            sexes=sexes if min(sexes.values()) >= minimum else {},
            positives=_positives(inputs, name, row),
        )


def _positives(inputs: Inputs, name: str, row: dict[Any, Any]) -> int | None:
    """Of a test as evaluate counted them: what the split knows of its labels stays sealed."""
    label = inputs.params.labels.any
    if name in TESTS:
        found = next((test.metrics["case"][label] for test in inputs.tests if test.name == name), {})
        value = found.get("positives", {}).get("value")
    else:
        value = row.get(f"{label}_cases")
    return None if value is None or pd.isna(value) else int(value)


def _test(inputs: Inputs, test: TestResult) -> dict[str, Any]:
    """One test in words; ``table`` counts decisions against the reference, case by case."""
    label, point = inputs.params.labels.any, inputs.params.ensemble.decision
    case, subtypes = test.metrics["case"][label], test.metrics["slice"]["mean"]
    decided, truth = test.cases["decision"].astype(bool), test.cases[f"truth_{label}"] == 1
    return {
        "name": display_name(test.name),
        "cases": len(test.cases),
        "auc": as_text(case.get("auc")),
        "map": as_text(subtypes.get("ap")),
        **{name: as_text(case.get(f"{name}@{point}")) for name in ("sensitivity", "specificity", "ppv", "npv", "f1")},
        "brier": as_text(test.metrics["slice"][label].get("brier")),
        "ece": as_text(test.metrics["slice"][label].get("ece")),
        "table": {
            "true positive": int((decided & truth).sum()),
            "false negative": int((~decided & truth).sum()),
            "false positive": int((decided & ~truth).sum()),
            "true negative": int((~decided & ~truth).sum()),
        },
    }


PARTITIONS = {TRAIN: "Training", VALIDATION: "Tuning", **dict.fromkeys(TESTS, "Internal testing")}
