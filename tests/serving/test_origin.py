"""A model of synthetic heads gives no answer for a patient: on no page, in no table, to nobody who asks it."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, write_json
from ich_pipeline.phantom.scanners import SCANNERS, is_synthetic
from ich_pipeline.registry import versions
from ich_pipeline.registry.register import register
from ich_pipeline.serving.answer import answer
from ich_pipeline.serving.bundle import ORIGIN, read_origin
from ich_pipeline.serving.content import content_of, seal
from ich_pipeline.serving.origin import FEWEST_PATIENTS, NO_ANSWER, Origin, find_origin, learners_of
from ich_pipeline.serving.system import System
from tests.made.stages import write_learners
from tests.made.system import write_study

PHANTOM = SCANNERS[2]


def made_origin(root: Path, manufacturers: tuple[str, ...], kernel: str, kind: str, weights: str = "none") -> Origin:
    """As the register stage makes it, of a cohort with one training case a manufacturer."""
    write_learners(root, manufacturers, kernel, kind)
    write_json(root / "network.json", {"weights": weights})
    return find_origin(root / "data", root / "work/ingest", root / "work/split", [root / "network.json"])


def test_the_phantom_is_known_by_its_scanners_and_nobody_else() -> None:
    for scanner in SCANNERS:
        assert is_synthetic(f"{scanner.manufacturer} ", scanner.kernel)
        assert is_synthetic(scanner.manufacturer, scanner.bone_kernel)
        assert not is_synthetic(scanner.manufacturer, "H99")
        for real in ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips", "TOSHIBA", ""):
            assert not is_synthetic(real, scanner.kernel)


@given(st.text(max_size=20), st.sampled_from([s.kernel for s in SCANNERS]))
def test_no_other_words_are_the_phantom_s(manufacturer: str, kernel: str) -> None:
    known = {(s.manufacturer, k) for s in SCANNERS for k in (s.kernel, s.bone_kernel)}
    assert is_synthetic(manufacturer, kernel) == ((manufacturer.strip(), kernel) in known)


@pytest.mark.parametrize(
    ("manufacturers", "kind", "data", "synthetic_cases"),
    [
        (("SIEMENS", "Philips"), "folder", "patients", 0),
        (("SIEMENS", PHANTOM.manufacturer), "folder", "synthetic", 1),  # one patient beside synthetic heads
        ((PHANTOM.manufacturer, PHANTOM.manufacturer), "folder", "synthetic", 2),  # the phantom, brought as one's own
        (("renamed", "again"), "phantom", "synthetic", 2),
    ],
)
def test_what_it_was_trained_on(tmp_path: Path, manufacturers, kind: str, data: str, synthetic_cases: int) -> None:
    weights = "pretrained on synthetic heads (sha256 0)" if kind == "folder" else "none"
    found = made_origin(tmp_path, manufacturers, PHANTOM.kernel, kind, weights)
    assert (found.data, found.cohort, found.synthetic_cases) == (data, kind, synthetic_cases)
    assert (found.patients, found.cases, found.slices) == (2, 2, 12), "the case of a test does not count"
    assert found.manufacturers == tuple(sorted(set(manufacturers)))
    assert (found.thickness_mm, found.pictures) == ((4.5, 5.0), ((64, 64),))
    assert found.pretrained_on_synthetic is (kind == "folder")
    assert [found.no_answer(synthetic) for synthetic in (True, False)] == ["", NO_ANSWER if data == "synthetic" else ""]
    write_json(tmp_path / ORIGIN, found.to_json())
    assert read_origin(tmp_path) == found
    write_json(tmp_path / ORIGIN, found.to_json() | {"schema": "origin/9"})
    with pytest.raises(InputError, match="origin/9"):
        read_origin(tmp_path)


@pytest.mark.parametrize(("patients", "synthetic", "data"), [
    (1, 199, "synthetic"), (FEWEST_PATIENTS - 1, 1, "synthetic"), (FEWEST_PATIENTS, 199, "patients"), (3, 0, "patients"),
])  # fmt: skip
def test_a_few_patients_among_synthetic_heads_are_no_training(
    tmp_path: Path, patients: int, synthetic: int, data: str
) -> None:
    makers = ("SIEMENS",) * patients + (PHANTOM.manufacturer,) * synthetic
    found = made_origin(tmp_path, makers, PHANTOM.kernel, "folder")
    assert (found.data, found.synthetic_cases, found.cases) == (data, synthetic, patients + synthetic)


def test_patients_that_only_validate_learn_too_where_heads_are_cross_fitted() -> None:
    cohorts = pd.DataFrame({"case_id": ["a", "b", "c"], "cohort": ["train", "validation", "test_prospective"]})
    none, some = pd.DataFrame({"fold": []}), pd.DataFrame({"fold": [0, 1]})
    assert (learners_of(cohorts, none), learners_of(cohorts, some)) == ({"a"}, {"a", "b"})


def test_without_a_training_case_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the training cases"):
        made_origin(tmp_path, (), "H31s", "folder")


def test_a_bundle_of_before_is_refused(bundle: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    (old / ORIGIN).unlink()
    seal(old)
    with pytest.raises(InputError, match=r"has no origin\.json, .*register the model again"):
        System.load(old)


@pytest.fixture(scope="module")
def synthetic(synthetic_bundle: Path) -> System:
    """The system, trained on synthetic heads."""
    return System.load(synthetic_bundle)


def test_only_a_synthetic_head_is_answered(synthetic: System, studies, tmp_path: Path) -> None:
    marked = write_study(tmp_path, studies.hu[0], "7", PHANTOM.manufacturer, PHANTOM.kernel)
    answered = answer(synthetic.read_case(list(marked)), uids=True, thumbnails=True)
    assert answered["no_answer"] is None and answered["verdict"] in ("suspected", "not suspected")
    for case in (synthetic.read_case(studies.files[0]), synthetic.read_hu(studies.hu[0])):
        found = answer(case, uids=False, thumbnails=True)
        assert (found["verdict"], found["no_answer"], found["decision"]) == (NO_ANSWER, NO_ANSWER, None)
        assert set(found["probabilities"].values()) == {None}
        assert found["uncertainty"] is None and found["reasons"] == {}
        for one in found["slices"]:
            assert {*one["first"].values(), *one["final"].values(), *one["sets"].values()} == {None}
            assert one["second"] is None and one["disagreement"] is None
            assert not one["attention"] and not one["basis"]
        json.dumps(found, allow_nan=False)
    shown = answer(synthetic.read_case(studies.files[0], demonstration=True), uids=True, thumbnails=True)
    assert shown["verdict"].startswith(f"{NO_ANSWER} (demonstration: ") and shown["no_answer"] == NO_ANSWER
    assert shown["likeness"] is None and answered["likeness"] is not None  # nobody asks where there is no answer anyway
    for one in (*shown["slices"], *answered["slices"]):
        del one["unlike"], one["excess"]
    different = {"verdict", "no_answer", "sentence", "likeness"}
    assert {k: v for k, v in shown.items() if k not in different} == {
        k: v for k, v in answered.items() if k not in different
    }


def test_pretraining_on_synthetic_heads_withholds_nothing(bundle: Path, studies, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    pretrained = dataclasses.replace(read_origin(folder), pretrained_on_synthetic=True)
    write_json(folder / ORIGIN, pretrained.to_json())
    seal(folder)
    case = System.load(folder).read_case(studies.files[0])
    assert case.no_answer == "" and case.decision is not None and np.isfinite(case.final).all()


@pytest.fixture(scope="module")
def model(project: Path, synthetic_bundle: Path, params: Params) -> int:
    """Version 1: trained on synthetic heads."""
    return register(synthetic_bundle, content_of(synthetic_bundle), params, {}, "# Card")[0]


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def no_verdict_for_any(sources: list[Path], out: Path, patients: int) -> None:
    """Predict; nowhere is a verdict."""
    status, said, err = ich("predict", *sources, "--out", out)
    assert status == 0, said + err
    cases = read_json(out / "predictions.json")["cases"]
    assert len(cases) == patients
    assert {(case["verdict"], case["decision"]) for case in cases} == {(NO_ANSWER, None)}
    assert {value for case in cases for value in case["probabilities"].values()} == {None}
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert {(row["verdict"], row["decision"], row["any"]) for row in rows} == {(NO_ANSWER, "", "")}
    assert said.count(f"  {NO_ANSWER}  any –  ") == patients and "--demonstration" in err
    for case in cases:
        page = (out / f"{case['case_id']}.html").read_text()
        main = page.split("<main>")[1].split("</main>")[0]
        assert NO_ANSWER[1:] in main
        for withheld in ("suspected", "Case scores", "How sure", "Prediction basis", "case score", "nan", "0.00"):
            assert withheld not in re.sub(r"data:[^\"]*", "", main), withheld


def test_ich_predict_and_the_served_model(model: int, studies, params: Params, tmp_path: Path) -> None:
    import mlflow.pyfunc

    no_verdict_for_any([studies.folder], tmp_path / "none", 2)
    status, said, err = ich("predict", *studies.files[0], "--out", tmp_path / "shown", "--demonstration")
    assert status == 0 and f"{NO_ANSWER} (demonstration: " in said and "for demonstration only" in err
    (page,) = (tmp_path / "shown").glob("C*.html")
    text = page.read_text()
    assert text.index(NO_ANSWER[1:]) < text.index("Case scores") and "for demonstration only" in text
    served = mlflow.pyfunc.load_model(str(versions.model_folder(versions.resolve("1", params.registry.model_name))))
    table = pd.DataFrame({"dicom": [path.read_bytes() for path in studies.files[0]]})
    (found,), (demonstrated,) = served.predict(table), served.predict(table, params={"demonstration": True})
    assert (found["verdict"], found["decision"]) == (NO_ANSWER, None)
    assert demonstrated["no_answer"] == NO_ANSWER and isinstance(demonstrated["decision"], bool)


def _patients(real_data: Path) -> list[Path]:
    return sorted(path for path in (real_data / "ctich_dicom" / "dicom").iterdir() if path.is_dir())


def test_real_patients_through_a_model_of_synthetic_heads(model: int, real_data: Path, tmp_path: Path) -> None:
    no_verdict_for_any(_patients(real_data)[:2], tmp_path, 2)


@pytest.mark.long
def test_every_real_patient_through_a_model_of_synthetic_heads(model: int, real_data: Path, tmp_path: Path) -> None:
    patients = _patients(real_data)
    no_verdict_for_any(patients, tmp_path, len(patients))
