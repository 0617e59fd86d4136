"""The stage baselines on drawn heads: what it learns from, what it never sees, equal bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from flows import baselines
from ich_pipeline.baselines.hu_rule import FILE, HuRule
from ich_pipeline.baselines.stored import PREDICTIONS_FILE, SCHEMA
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_table, write_table
from ich_pipeline.features import store
from ich_pipeline.tables.label_tables import write_labels
from tests.baselines.drawn import BRAIN, SIZE, head
from tests.stages import content, params_of_one_size, run_stage, working_in

SLICES = 4
PATIENTS = {"train": 12, "validation": 6, "test_retrospective": 6}


@pytest.fixture
def project(project_root: Path, tmp_path: Path):
    """Every second patient bleeds in its second slice; the tests' labels are not there at all."""
    with working_in(tmp_path):
        settings = {"maximum_slices": 40, "trees": 10, "random_network": "resnet50"}
        params = params_of_one_size(project_root, tmp_path, SIZE, baselines=settings)
        yield tmp_path, params, _work(tmp_path, params)


def _work(folder: Path, params: Params) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows, truth, pictures = [], [], []
    labels = params.label_set
    for cohort, count in PATIENTS.items():
        for patient in range(count):
            for k in range(SLICES):
                row, picture = len(rows), head(stretch=1.1) + rng.integers(-3, 4, (SIZE, SIZE))
                subtypes = np.zeros(len(labels.subtypes), np.int8)
                if patient % 2 == 0 and k == 1:
                    subtypes[1] = 1
                    y, x = rng.integers(40, 75, 2)
                    picture[y : y + 12, x : x + 12] = BRAIN + 35
                case = f"C{cohort}{patient}"
                ends = (row - 1 if k else -1, row + 1 if k < SLICES - 1 else -1)
                rows.append((row, f"1.2.{row}", case, f"P{case}", cohort, *ends, 5.0 * k))
                truth.append([int(subtypes.any()), *subtypes])
                pictures.append(picture)
    columns = ["row", "SOPInstanceUID", "case_id", "patient_key", "cohort", "before", "after", "position_mm"]
    index = pd.DataFrame(rows, columns=pd.Index(columns))
    write_table(folder / "work/window/index.parquet", index, "window/1")
    np.save(folder / f"work/window/hu_{SIZE}.npy", np.clip(pictures, -20, 180).astype(np.int16))
    table = pd.concat([index[["SOPInstanceUID"]], pd.DataFrame(truth, columns=pd.Index(labels.columns))], axis=1)
    random = folder / "work/features/resnet50/random"
    random.mkdir(parents=True)
    np.save(random / store.ARRAY, rng.normal(size=(1, len(index), 7)).astype(np.float32))
    store.describe(random, index, [store.AS_IT_IS])
    nobody = pd.DataFrame({"patient_key": pd.Series(dtype=str), "fold": pd.Series(dtype="int64")})
    write_table(folder / "work/split/folds.parquet", nobody, "folds/1")
    for cohort in ("train", "validation"):
        write_labels(folder / f"work/split/labels/{cohort}.csv", table.loc[index["cohort"] == cohort], labels)
    return index.assign(truth=np.array(truth)[:, 0])


def scores(folder: Path) -> pd.DataFrame:
    return read_table(folder / "work/baselines/hu_rule" / PREDICTIONS_FILE, SCHEMA)


def test_every_slice_is_scored_from_the_training_patients_alone(project) -> None:
    folder, params, index = project
    result = run_stage(baselines.body, "baselines", None, params)
    assert set(content(folder / "work/baselines")) == {
        f"{name}/{file}" for name in ("hu_rule", "random_network") for file in ("baseline.json", "predictions.parquet")
    } | {"hu_rule/rule.npz"}
    before = content(folder / "work/baselines")
    found = scores(folder)
    assert list(found.columns) == ["SOPInstanceUID", *params.label_set.columns]
    assert list(found["SOPInstanceUID"]) == list(index["SOPInstanceUID"])
    test = (index["cohort"] == "test_retrospective").to_numpy()
    assert roc_auc_score(index["truth"][test], found["any"][test]) > 0.9
    assert result.summary.startswith(("HU rule: validation slice AUC 1.0", "HU rule: validation slice AUC 0.9"))
    assert "random network: validation slice AUC 0." in result.summary
    np.testing.assert_array_equal(found["epidural"], 0)  # nobody has it: its prevalence

    # The same bytes again, whatever validation says; and what the other cohorts look like changes nothing that is learnt.
    labels = folder / "work/split/labels/validation.csv"
    lines = labels.read_text().splitlines()
    swapped = [f"{line.split(',')[0]},0,0,0,0,0,0" for line in lines[1:]]
    labels.write_text("\n".join([lines[0], *swapped]) + "\n")
    told = run_stage(baselines.body, "baselines", None, params)
    assert content(folder / "work/baselines") == before
    assert told.summary.startswith("HU rule: validation slice AUC not estimable; random network")
    path = folder / f"work/window/hu_{SIZE}.npy"
    pictures = np.load(path)
    pictures[test] = pictures[test][:, ::-1] // 2
    np.save(path, pictures)
    run_stage(baselines.body, "baselines", None, params)
    others = scores(folder).loc[~test]
    pd.testing.assert_frame_equal(others, found.loc[~test])


def test_with_folds_each_patient_is_read_by_what_never_saw_it(project) -> None:
    folder, params, index = project
    learning = index["cohort"].isin(["train", "validation"]).to_numpy()
    patients = sorted(index.loc[learning, "patient_key"].unique())
    # Patients are named by number; every other one bleeds, so that each fold has both kinds.
    dealt = pd.DataFrame({"patient_key": patients, "fold": [(k // 2) % 3 for k in range(len(patients))]})
    write_table(folder / "work/split/folds.parquet", dealt.astype({"patient_key": "str", "fold": "int64"}), "folds/1")
    run_stage(baselines.body, "baselines", None, params)
    before = {
        name: read_table(folder / "work/baselines" / name / PREDICTIONS_FILE, SCHEMA)
        for name in ("hu_rule", "random_network")
    }
    rule = HuRule.load(folder / "work/baselines/hu_rule" / FILE)
    hu = np.load(folder / f"work/window/hu_{SIZE}.npy")
    neighbours = index[["before", "after"]].to_numpy()
    shipped = rule.read(hu, neighbours)
    tests = index["cohort"].eq("test_retrospective").to_numpy()
    columns = list(params.label_set.columns)
    np.testing.assert_array_equal(before["hu_rule"].loc[tests, columns], shipped[tests])
    assert (before["hu_rule"].loc[learning, columns].to_numpy() != shipped[learning]).any(axis=1).mean() > 0.5

    # Other labels of fold 1's patients change what is said of the others, never of themselves.
    of_patient = dealt.set_index("patient_key")["fold"]
    fold = index["patient_key"].map(of_patient).to_numpy()
    for cohort in ("train", "validation"):
        path = folder / f"work/split/labels/{cohort}.csv"
        table = pd.read_csv(path, dtype={"SOPInstanceUID": str})
        chosen = table["SOPInstanceUID"].isin(index.loc[fold == 1, "SOPInstanceUID"])
        table.loc[chosen, "any"] = table.loc[chosen, "intraparenchymal"] = 1 - table.loc[chosen, "any"]
        write_labels(path, table, params.label_set)
    run_stage(baselines.body, "baselines", None, params)
    for name, old in before.items():
        new = read_table(folder / "work/baselines" / name / PREDICTIONS_FILE, SCHEMA)
        same = (new[columns] == old[columns]).all(axis=1).to_numpy()
        own = fold == 1
        if name == "random_network":  # the penalty is chosen by all, and the one scale joins all
            assert not same[learning & ~own].all()
            continue
        assert same[own].all() and not same[learning & ~own].all() and not same[tests].all()


def test_a_missing_label_file_is_named(project) -> None:
    folder, params, _ = project
    (folder / "work/split/labels/train.csv").unlink()
    with pytest.raises(InputError, match=r"train\.csv is missing"):
        run_stage(baselines.body, "baselines", None, params)
    assert not (folder / "work/baselines").exists()
