"""What is served against Keras; and that serving loads neither TensorFlow nor what else it does not need."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.serving.content import seal
from ich_pipeline.serving.engine import ServedExplainer, ServedNetwork
from ich_pipeline.serving.system import System
from ich_pipeline.windowing.windows import prepare
from tests.made.system import ARCHITECTURE, SIZE, Studies

NOT_SERVED = ("tensorflow", "keras", "onnx", "tf2onnx", "sklearn", "pandas", "matplotlib", "prefect", "dvc", "mlflow")
READ = """
import json, sys
from pathlib import Path
from ich_pipeline.report.case_page import case_page
from ich_pipeline.serving.answer import answer
from ich_pipeline.serving.system import System
case = System.load(Path(sys.argv[1])).read_case([Path(name) for name in sys.argv[2:]])
assert case.shown and case_page(case) and answer(case, uids=True, thumbnails=True)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture(scope="module")
def folder(bundle: Path) -> Path:
    return bundle / "networks" / ARCHITECTURE


@pytest.fixture(scope="module")
def hu(studies: Studies, params: Params) -> np.ndarray:
    return prepare(np.concatenate(studies.hu), SIZE, params.windowing.windows)


def test_probabilities_features_and_maps_are_those_of_keras(
    folder: Path, hu: np.ndarray, work: Path, params: Params
) -> None:
    from ich_pipeline.explain.attention import Explainer
    from ich_pipeline.training.network import Network

    network, served = Network.load(work / "work" / "train" / ARCHITECTURE), ServedNetwork(folder)
    assert served.spec == network.spec
    for ours, theirs in zip(served.features_and_probabilities(hu), network.features_and_probabilities(hu), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(served.probabilities(hu), served.features_and_probabilities(hu)[1])
    for ours, theirs in zip(served.head(), network.head(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = ServedExplainer(served, folder).explain(hu), Explainer(network, params.explain).explain(hu)
    assert (ours.method, ours.grid) == (theirs.method, theirs.grid)
    np.testing.assert_array_equal(ours.localises, theirs.localises)
    np.testing.assert_allclose(ours.maps, theirs.maps, atol=1e-5)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)  # sums over hundreds of features


def test_a_slice_answers_the_same_to_the_last_bit_in_any_company(folder: Path, hu: np.ndarray) -> None:
    served = ServedNetwork(folder)
    explainer = ServedExplainer(served, folder)
    whole, maps = served.features_and_probabilities(hu), explainer.explain(hu).maps
    for rows in ([5], [3, 5, 7], list(range(len(hu)))[::-1]):
        for ours, of_all in zip(served.features_and_probabilities(hu[rows]), whole, strict=True):
            np.testing.assert_array_equal(ours, of_all[rows])
        np.testing.assert_array_equal(explainer.explain(hu[rows]).maps, maps[rows])
    assert served.probabilities(hu[:0]).shape == (0, whole[1].shape[1])


def test_serving_loads_no_tensorflow(bundle: Path, studies: Studies) -> None:
    command = [sys.executable, "-c", READ, str(bundle), *map(str, studies.files[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "onnxruntime" in loaded and not set(NOT_SERVED) & set(loaded)


def test_a_version_from_before_onnx_says_what_to_do(bundle: Path, tmp_path: Path) -> None:
    old = tmp_path / "bundle"
    shutil.copytree(bundle, old)
    (old / "networks" / ARCHITECTURE / "network.onnx").unlink()
    seal(old)
    with pytest.raises(InputError, match=r"network\.onnx is missing: .* before .* register the model again"):
        System.load(old)
    (old / "networks" / ARCHITECTURE / "network.onnx").write_bytes(b"no graph")
    seal(old)
    with pytest.raises(InputError, match=r"network\.onnx is no graph .* register the model again"):
        System.load(old)


@pytest.mark.parametrize(
    ("fault", "held"),
    [
        (lambda maps, at: maps + 0.0, True),
        (lambda maps, at: np.where(at < 0.09, maps + 0.005, maps), True),  # cells at a kink
        (lambda maps, at: np.where(at < 0.2, maps + 0.005, maps), False),  # too many of them
        (lambda maps, at: np.where(at < 0.001, maps + 0.02, maps), False),  # too far
        (lambda maps, at: maps * 1.001, False),
        (lambda maps, at: np.where(at < 0.001, np.nan, maps), False),
        (lambda maps, at: maps[..., ::-1], False),
    ],
)
def test_maps_may_differ_in_a_few_cells_by_little_and_probabilities_nowhere(fault, held: bool) -> None:
    from ich_pipeline.serving.export import CELLS_APART, check_equal

    rng = np.random.default_rng(1)
    maps = rng.random((4, 6, 30, 30))
    at = rng.permutation(maps.size).reshape(maps.shape) / maps.size
    found = fault(maps, at)
    if held:
        check_equal("It", "maps", found, maps, CELLS_APART)
    else:
        with pytest.raises(InputError, match="maps of the exported graph differ from Keras' by up to"):
            check_equal("It", "maps", found, maps, CELLS_APART)
    if (found != maps).any():
        with pytest.raises(InputError, match="probabilities of the exported graph"):
            check_equal("It", "probabilities", found, maps)


def test_a_graph_that_answers_otherwise_is_not_registered(
    folder: Path, work: Path, hu: np.ndarray, tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ich_pipeline.serving import export

    shutil.copy(folder / "network.json", tmp_path)
    to_onnx = export.to_onnx
    brighter = lambda made, *rest: to_onnx(lambda hu: made(hu + 1.0), *rest)  # noqa: E731
    monkeypatch.setattr(export, "to_onnx", brighter)
    with pytest.raises(InputError, match=r"The network vgg16: features of the exported graph differ .* nothing is"):
        export.export_network(work / "work" / "train" / ARCHITECTURE, tmp_path, hu, None)
