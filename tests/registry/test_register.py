"""Registered versions in a real store: once for a content, aliases, promotion, and the model as others load it."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.papers.fill import NAMES
from ich_pipeline.registry import store, versions
from ich_pipeline.registry.ledger import model_digest
from ich_pipeline.registry.register import PAPERS, headline, register, requirements
from ich_pipeline.serving.answer import answer
from ich_pipeline.serving.bundle import read_sources
from ich_pipeline.serving.content import content_of, seal
from ich_pipeline.serving.system import System


@pytest.fixture(scope="module")
def system(bundle: Path) -> System:
    """The system straight from the bundle."""
    return System.load(bundle)


@pytest.fixture(scope="module")
def other_content(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another content: the same system with one neighbour fewer in the prediction basis."""
    folder = tmp_path_factory.mktemp("other") / "bundle"
    shutil.copytree(bundle, folder)
    settings = json.loads((folder / "system.json").read_text())
    settings["explain"]["basis_neighbours"] -= 1
    (folder / "system.json").write_text(json.dumps(settings))
    seal(folder)
    return folder


def test_a_version_says_what_it_is(registered: int, bundle: Path, params: Params) -> None:
    (version,) = versions.versions(params.registry.model_name)
    assert version.number == registered
    assert version.aliases == ("challenger",)
    assert version.content == content_of(bundle).digest
    assert version.metrics == {"test auc": "0.9000"}
    model = store.client().get_model_version(version.name, str(version.number))
    assert model.run_id is not None
    run = store.client().get_run(model.run_id)
    assert run.data.tags["ich.stage"] == "register" and run.data.metrics == {"test auc": 0.9}
    assert model.description == "# Card"
    assert versions.numbers_by_model(version.name) == {model_digest(read_sources(bundle)): registered}


def test_the_same_content_is_registered_once(registered: int, bundle: Path, params: Params) -> None:
    assert register(bundle, content_of(bundle), params, {}, "") == (registered, False)
    assert len(versions.versions(params.registry.model_name)) == 1


def test_refuses_without_any_version(registered: int) -> None:
    with pytest.raises(InputError, match="make repro"):
        versions.live("no-such-model")
    with pytest.raises(InputError, match="no version with the alias challenger"):
        versions.move(*versions.candidate("no-such-model"))


def test_challenger_and_champion_move(registered: int, bundle: Path, other_content: Path, params: Params) -> None:
    name = params.registry.model_name
    assert versions.live(name).number == 1  # the challenger while there is no champion
    assert versions.move(*versions.candidate(name)) == f"champion of {name} is now version 1; before there was none."
    assert register(other_content, content_of(other_content), params, {}, "") == (2, True)
    assert versions.live(name).number == 1
    assert versions.move(*versions.candidate(name)) == f"champion of {name} moved from version 1 to version 2."
    assert versions.move(*versions.candidate(name)) == f"champion of {name} is version 2 already; nothing moved."
    with pytest.raises(InputError, match=r"--version 7 .* registered: 1, 2"):
        versions.move(*versions.candidate(name, 7))
    assert versions.move(*versions.candidate(name, 1)) == f"champion of {name} moved from version 2 to version 1."
    assert register(bundle, content_of(bundle), params, {}, "") == (1, False)  # back to the first content
    found = {version.number: version.aliases for version in versions.versions(name)}
    assert found == {1: ("challenger", "champion"), 2: ()}
    assert versions.resolve(f"{name}/champion", name).number == 1
    assert versions.resolve("2", name).number == 2
    assert versions.resolve(name, name).number == 1
    with pytest.raises(InputError, match="no registered version"):
        versions.resolve(f"{name}/nobody", name)


def test_what_the_tests_do_not_show_stays_with_the_version(
    registered: int, other_content: Path, params: Params, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(other_content, folder)
    settings = json.loads((folder / "system.json").read_text())
    settings["explain"]["findings_shown"] = 1
    (folder / "system.json").write_text(json.dumps(settings))
    seal(folder)
    name = params.registry.model_name
    number, _ = register(folder, content_of(folder), params, {}, "", "Test: better than chance is not shown.")
    assert versions.versions(name)[0].caution == "Test: better than chance is not shown."
    said = "Caution: Test: better than chance is not shown."
    assert versions.move(*versions.candidate(name, number)).endswith(said)
    assert versions.move(*versions.candidate(name, number)).endswith(f"nothing moved. {said}")
    # The same content, judged anew: what the tests say now counts.
    assert register(folder, content_of(folder), params, {"test auc": 0.4}, "# New card", "Worse.") == (number, False)
    found = versions.versions(name)[0]
    assert (found.caution, found.metrics) == ("Worse.", {"test auc": "0.4000"})
    assert store.client().get_model_version(name, str(number)).description == "# New card"
    register(folder, content_of(folder), params, {}, "")
    assert (versions.versions(name)[0].caution, versions.versions(name)[0].metrics) == ("", {})
    assert "Caution" not in versions.move(*versions.candidate(name, registered))


def test_a_version_carries_an_example_and_a_document_of_its_input(registered: int, params: Params) -> None:
    import mlflow.pyfunc

    folder = versions.model_folder(versions.resolve("1", params.registry.model_name))
    model = mlflow.pyfunc.load_model(str(folder))
    example = model.input_example
    assert example is not None
    (one,) = model.predict(example)
    assert (one["case"], len(one["slices"])) == ("example", len(example))
    golden = json.loads((folder / "artifacts" / "golden.json").read_text())
    (shown,) = model.predict(example, params={"demonstration": True})
    assert golden["sentence"] == shown["sentence"]
    assert np.allclose([list(s["final"].values()) for s in shown["slices"]], golden["final"], rtol=0, atol=1e-6)
    given = example["hu"][1]
    hu = np.load(io.BytesIO(base64.b64decode(given) if isinstance(given, str) else given))
    assert hu.shape == (96, 96) and (hu < -900).mean() > 0.2 and 20 < np.median(hu[hu > 0]) < 50
    document = (folder / "artifacts" / "input.md").read_text(encoding="utf-8")
    assert all(f"``{name}``" in document for name in ("dicom", "hu", "position_mm", "case"))
    assert all(f'"{name}"' in document for name in one if name != "case"), "every key of an answer"


def test_a_version_that_lost_its_files_is_registered_again(
    registered: int, other_content: Path, params: Params, tmp_path: Path
) -> None:
    register(other_content, content_of(other_content), params, {}, "")
    lost = versions.with_content(params.registry.model_name, content_of(other_content).digest)
    assert lost is not None
    folder = versions.model_folder(lost)
    folder.rename(tmp_path / "away")
    try:
        with pytest.raises(InputError, match="lost its files"):
            versions.model_folder(lost)
        number, new = register(other_content, content_of(other_content), params, {}, "")
        assert new and number > lost.number
    finally:
        (tmp_path / "away").rename(folder)


def test_the_model_answers_as_the_system_does(registered: int, system: System, studies, params: Params) -> None:
    import mlflow.pyfunc
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    version = versions.resolve("1", params.registry.model_name)
    model = mlflow.pyfunc.load_model(str(versions.model_folder(version)))
    rows = [path.read_bytes() for files in studies.files for path in reversed(files)]
    answers = model.predict(pd.DataFrame({"dicom": rows}))
    expected = [answer(system.read_case(list(files)), uids=True, thumbnails=True) for files in studies.files]
    assert [{k: v for k, v in one.items() if k != "case"} for one in answers] == expected
    served = TestClient(scoring_server.init(model))  # the app of `mlflow models serve`
    text = [base64.b64encode(row).decode() for row in rows[: len(studies.files[0])]]
    found = served.post("/invocations", json={"dataframe_split": {"columns": ["dicom"], "data": [[t] for t in text]}})
    assert found.status_code == 200, found.text
    assert found.json()["predictions"] == answers[:1]
    broken = served.post("/invocations", json={"dataframe_split": {"columns": ["dicom"], "data": [["Tk8="]]}})
    assert broken.status_code == 400 and "no DICOM image" in broken.text


def test_dicom_and_its_array_give_the_same(system: System, studies) -> None:
    from_files = system.read_case(studies.files[0])
    from_array = system.read_hu(studies.hu[0], np.arange(len(studies.hu[0])) * 5.0)
    for name in ("first", "second", "final", "case_scores", "reread"):
        np.testing.assert_array_equal(getattr(from_files, name), getattr(from_array, name))
    assert from_files.reread.any() and not from_files.reread.all()


def windowed(files: list[Path], params: Params) -> np.ndarray:
    """The pictures that the window stage makes of a study, in the current directory."""
    import logging

    from flows import window
    from flows.engine.stage import Stage
    from ich_pipeline.core.files import write_table
    from ich_pipeline.ingest.volumes import write_volume
    from ich_pipeline.serving.load_case import load_case
    from ich_pipeline.tables.schemas import COHORTS_TABLE

    case = load_case(files, params.ingest)
    Path("work/ingest/volumes").mkdir(parents=True)
    Path("work/split").mkdir()
    write_volume(Path("work/ingest/volumes/V1.b2nd"), case.hu)
    before, after = case.neighbours.T
    slices = pd.DataFrame({
        "case_id": "C1", "patient_key": "P1", "SOPInstanceUID": case.SOPInstanceUIDs, "volume": "V1", "index": np.arange(len(case.hu)),
        "position_mm": case.positions_mm, "neighbour_before": before, "neighbour_after": after,
    })  # fmt: skip
    write_table(Path("work/ingest/slices.parquet"), slices, "slices/2")
    write_table(Path("work/ingest/series.parquet"), pd.DataFrame([{**case.series, "volume": "V1"}]), "series/3")
    write_table(
        Path("work/split/cohorts.parquet"), pd.DataFrame({"case_id": ["C1"], "cohort": ["train"]}), COHORTS_TABLE
    )
    window.body(Stage("window", None, params, logging.getLogger("test"), lambda *_: None))
    return np.load(f"work/window/hu_{params.windowing.sizes[0]}.npy")


def test_at_true_scale_dicom_its_array_and_the_window_stage_give_the_same(
    bundle: Path, studies, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 280 mm of pictures 192 mm wide: padded, and the map's cells reach beyond the file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    settings = json.loads((folder / "system.json").read_text())
    settings["windowing"]["field_of_view_mm"] = 280.0
    (folder / "system.json").write_text(json.dumps(settings))
    seal(folder)
    scaled = System.load(folder)
    hu = studies.hu[0]
    with pytest.raises(InputError, match="without pixel_spacing_mm, but this model reads at true scale"):
        scaled.read_hu(hu)
    from_files = scaled.read_case(studies.files[0], demonstration=True)
    from_array = scaled.read_hu(hu, np.arange(len(hu)) * 5.0, pixel_spacing_mm=(3.0, 3.0), demonstration=True)
    for name in ("first", "second", "final", "case_scores", "reread", "hu"):
        np.testing.assert_array_equal(getattr(from_files, name), getattr(from_array, name))
    assert from_files.hu.shape[1:] == (93, 93), "280 mm of 3 mm"
    images = windowed(studies.files[0], params.model_copy(update={"windowing": scaled.params.windowing}))
    (network,) = scaled.networks.values()
    np.testing.assert_allclose(network.probabilities(images), from_files.first, atol=1e-6)
    assert np.abs(from_files.first - System.load(bundle).read_case(studies.files[0]).first).max() > 1e-3
    cells = [
        one["cells"]
        for part in answer(from_files, uids=False, thumbnails=False)["slices"]
        for one in part["attention"].values()
        if one["cells"]
    ]
    assert cells and all(first < 0 for one in cells for first in one["first"])


def test_maps_lie_over_the_files_of_a_prone_patient(system: System, studies, tmp_path: Path) -> None:
    """The same head on its face: the same reading and page, and each map as that file has its pixels."""
    prone = []
    for path in studies.files[0]:
        ds = pydicom.dcmread(path)
        ds.PixelData = np.ascontiguousarray(ds.pixel_array[::-1, ::-1]).tobytes()
        x, y, z = map(float, ds.ImagePositionPatient)
        across, down = (float(step) * (n - 1) for step, n in zip(ds.PixelSpacing, (ds.Columns, ds.Rows), strict=True))
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [x + across, y + down, z], [-1, 0, 0, 0, -1, 0]
        prone.append(tmp_path / path.name)
        ds.save_as(prone[-1])
    as_usual, turned = system.read_case(studies.files[0]), system.read_case(prone)
    np.testing.assert_array_equal(turned.hu, as_usual.hu)
    slices = [answer(case, uids=True, thumbnails=False)["slices"] for case in (as_usual, turned)]
    compared = 0
    for one, other in zip(*slices, strict=True):
        assert one["final"] == other["final"]
        for label, usual in one["attention"].items():
            if usual["map"] is None:
                continue
            values, found = np.array(usual["map"]), other["attention"][label]
            np.testing.assert_array_equal(np.array(found["map"]), values[::-1, ::-1])
            last = np.add(usual["cells"]["first"], np.multiply(usual["cells"]["step"], np.array(values.shape) - 1))
            np.testing.assert_allclose(found["cells"]["first"], np.array(turned.hu.shape[1:]) - 1 - last)
            compared += 1
    assert compared


def test_a_gap_is_not_interpolated_across(system: System, studies) -> None:
    hu = studies.hu[0]
    whole = system.read_hu(hu, np.arange(len(hu)) * 5.0)
    apart = system.read_hu(hu, np.array([0.0, 5.0, 10.0, 40.0, 45.0, 50.0]))
    np.testing.assert_array_equal(whole.first, apart.first)
    both = whole.reread & apart.reread
    assert both[2] or both[3]
    edges = [row for row in (2, 3) if both[row]]
    assert (whole.second[edges] != apart.second[edges]).any()


@pytest.mark.parametrize(
    ("hu", "positions", "message"),
    [
        (np.zeros((4, 4)), None, "Rows, Columns"),
        (np.full((2, 4, 4), np.nan), None, "not finite"),
        (np.zeros((2, 4, 4)), np.array([1.0, 1.0]), "rising"),
    ],
)
def test_arrays_that_it_refuses(system: System, hu, positions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        system.read_hu(hu, positions)


def test_the_model_loads_elsewhere(registered: int, studies, params: Params, tmp_path: Path) -> None:
    """In another process, another folder, with the package from the model itself."""
    folder = versions.model_folder(versions.resolve("1", params.registry.model_name))
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    code = (
        "import sys, json, pandas, mlflow.pyfunc, pathlib\n"
        f"model = mlflow.pyfunc.load_model({str(copy)!r})\n"
        "import ich_pipeline\n"
        f"assert ich_pipeline.__file__.startswith({str(copy)!r}), ich_pipeline.__file__\n"
        f"rows = [p.read_bytes() for p in sorted(pathlib.Path({str(studies.folder / 'a')!r}).iterdir())]\n"
        "answers = model.predict(pandas.DataFrame({'dicom': rows}))\n"
        "try:\n"
        "    model.predict(pandas.DataFrame({'dicom': [b'nothing']}))\n"
        "except Exception as error:\n"
        "    print('refused:', type(error).__name__, getattr(error, 'error_code', ''))\n"
        "print(json.dumps([a['case_id'] for a in answers]))\n"
    )
    # -P: without the current directory on the path.
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    refused, ids = done.stdout.strip().splitlines()[-2:]
    assert refused == "refused: MlflowException INVALID_PARAMETER_VALUE"
    assert len(json.loads(ids)) == 1


def test_requirements_are_exact() -> None:
    assert all("==" in line for line in requirements())
    names = {line.split("==")[0] for line in requirements()}
    assert {"onnxruntime", "pydicom", "mlflow"} <= names and not {"tensorflow", "keras"} & names


def test_headline_leaves_out_nulls() -> None:
    metrics = {
        "t": {"slice": {"any": {"auc": {"value": 0.9}}, "mean": {"ap": {"value": None, "reason": "r"}}}, "case": {}}
    }
    assert headline(metrics, "any") == {"t auc slice any": 0.9}


def test_the_stage_and_a_lost_store(registered: int, bundle: Path, params: Params, project_root: Path) -> None:
    """flows.register: idempotent, and a store that was lost is filled again."""
    import logging

    from flows import register as stage_module
    from flows.engine.stage import Stage

    stage = Stage("register", None, params, logging.getLogger("test"), lambda fraction, text: None)
    Path("requirements.lock").write_text(f"numpy==2.2.0 \\\n    --hash=sha256:{'0' * 64}\n")
    result = stage_module.body(stage)
    assert result.summary.endswith("(holds this content already), alias challenger")
    content = json.loads(Path("work/register/content.json").read_text())
    assert content == content_of(bundle).to_json()
    known = versions.with_content(params.registry.model_name, content["digest"])
    assert known is not None and stage_module.ensure_registered() == (str(known.number), False)
    run = str(store.client().get_model_version(known.name, str(known.number)).run_id)
    kept = {Path(one.path).name for one in store.client().list_artifacts(run, PAPERS)}
    assert kept == {*NAMES, "sbom.json"}, "the papers that go with it"
    Path("mlruns").rename("mlruns-lost")  # in another process: MLflow keeps the lost database open in this one
    code = "from flows.register import ensure_registered as e; print(e(), e())"
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "('1', True) ('1', False)", done.stderr[-3000:]
    assert not list(Path(".state").glob("register-*"))


def test_no_identifier_reaches_the_store(project: Path) -> None:
    """Last: everything above has been recorded by now."""
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in files)
    for path in files:
        content = path.read_bytes()
        for planted in (b"4711-PLANTED", b"PLANTED^PATIENT"):
            assert planted not in content, f"{path} holds an identifier"
