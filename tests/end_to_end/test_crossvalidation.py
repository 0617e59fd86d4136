"""Cross-validation on the tiny project: real stages in every fold, every patient tested once, a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.conftest import Project

pytestmark = pytest.mark.long


def few_patients(values: dict) -> None:
    """Heads alone learn, so everything is chosen out of fold."""
    values["architectures"] = ["vgg16"]
    values["ablation"] = ["vgg16"]
    values["sequence"]["architectures"] = []
    values["explain"]["architecture"] = values["baselines"]["random_network"] = "vgg16"
    values["split"]["folds"].update(count=3, below_patients=200)


@pytest.fixture(scope="module")
def crossvalidated(chain: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = chain.copy(tmp_path_factory.mktemp("crossvalidation") / "project")
    project.params(few_patients)
    done = project.run("flows.crossvalidate", "--folds", "2", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "Tables and predictions" in done.stdout
    return project


def test_every_patient_is_tested_once(crossvalidated: Project) -> None:
    folder = crossvalidated.root / "reports" / "crossvalidation"
    cases = pd.read_parquet(folder / "cases.parquet")
    cohorts = pd.read_parquet(crossvalidated.root / "work/split/cohorts.parquet")
    key = pd.read_parquet(crossvalidated.root / "work/crossvalidation/cases.parquet").set_index("case")
    assert sorted(key.loc[cases["case"], "case_id"]) == sorted(cohorts["case_id"])
    told = b"".join(path.read_bytes() for path in folder.iterdir())
    assert not any(name.encode() in told for column in ("case_id", "patient_key") for name in key[column])
    figures = json.loads((folder / "metrics.json").read_text())["cross-validation"]
    assert figures["slice"]["any"]["n"]["value"] == len(pd.read_parquet(folder / "slices.parquet"))
    assert 0 <= figures["case"]["any"]["auc"]["low"] <= figures["case"]["any"]["auc"]["high"] <= 1
    assert set(pd.read_csv(folder / "folds.csv")["fold"]) == {1, 2}
    assert set(figures["baselines"]) == {"hu_rule", "random_network"}
    seeds = pd.read_csv(folder / "seeds.csv")
    assert (seeds.filter(like="seed").shape[1] == 2) and (seeds["low"].dropna() <= seeds["high"].dropna()).all()
    assert not list((crossvalidated.root / ".state" / "crossvalidate").iterdir())


def test_too_many_folds_are_the_users_mistake(chain: Project, tmp_path: Path) -> None:
    done = chain.copy(tmp_path / "project").run("flows.crossvalidate", "--folds", "1", "--seeds", "1")
    assert done.returncode == 2
    assert "cannot be dealt to 1 folds" in done.stderr
