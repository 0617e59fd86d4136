"""Weights carried by file: fetched with a manifest, verified, refused where they are not what they should be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from keras.src.applications import efficientnet
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.config import NetworkParams, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, sha256_of
from ich_pipeline.training import weights
from ich_pipeline.training.backbones import build_backbone, load_all_weights
from ich_pipeline.training.backend import keras

FILE = "mobilenet_1_0_224_tf_no_top.h5"
PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that stands for Keras' site in processes that download, and a file of MobileNet in it."""
    folder = tmp_path_factory.mktemp("server")
    model = build_backbone("mobilenet", 32, "none", "float32")
    model.save_weights(folder / "whole.weights.h5")
    as_keras_publishes(model, folder / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "made" / "no_internet"))
        patch.setenv("ICH_TEST_SITE", str(folder))
        yield folder


def as_keras_publishes(model: keras.Model, file: Path) -> None:
    """Save a model's weights in the older layout that Keras' servers have."""
    with h5py.File(file, "w") as opened:
        save_weights_to_hdf5_group(opened, model)


@pytest.mark.long  # a process for each network
def test_says_where_keras_would_download_without_downloading(server: Path) -> None:
    told = CliRunner().invoke(app, ["weights", "fetch", "--list", "vgg16", "mobilenet"])
    assert told.exit_code == 0, told.output
    one, other = (line.split("  ") for line in told.output.splitlines())
    assert one[0] == "vgg16" and one[1].startswith("https://") and one[1].endswith("_kernels_notop.h5")
    assert other[0] == "mobilenet" and other[1].endswith(FILE)


def test_fetch_checks_and_lists_and_verify_agrees(server: Path, tmp_path: Path) -> None:
    folder = tmp_path / "carried"
    told = CliRunner().invoke(app, ["weights", "fetch", "mobilenet", "vgg16", "--to", str(folder)])
    assert told.exit_code == 2 and "Traceback" not in told.output
    assert "ImageNet weights of vgg16 could not be had" in told.output and "no way there" in told.output
    [found] = weights.verify(folder)
    file = folder / "models" / FILE  # where Keras looks, if KERAS_HOME names the folder
    assert found.file == file and found.weights > 3_000_000
    entry = read_json(folder / weights.MANIFEST)["files"][f"models/{FILE}"]
    assert entry["sha256"] == sha256_of(server / FILE) == found.sha256
    assert entry["architecture"] == "mobilenet" and entry["source"].endswith(FILE)
    assert sorted(p.name for p in folder.iterdir()) == ["models", weights.MANIFEST], "nothing half loaded is left"

    told = CliRunner().invoke(app, ["weights", "verify", str(folder)])
    assert told.exit_code == 0 and "complete for mobilenet" in told.output and found.sha256 in told.output
    assert list(weights.verify(file)) == [found], "the manifest above a file counts for it too"

    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = CliRunner().invoke(app, ["weights", "verify", str(folder)])
    assert told.exit_code == 2 and "damaged or exchanged" in told.output and len(told.output.strip().splitlines()) == 1
    file.unlink()
    with pytest.raises(InputError, match=rf"{FILE} is missing: carry it over"):
        list(weights.verify(folder))


@pytest.mark.long  # builds EfficientNetB0 five times
def test_networks_begin_with_a_carried_cache_and_answer_as_keras_does(tmp_path: Path, monkeypatch) -> None:
    """EfficientNetB0 with a file in Keras' cache: Keras adds a layer to its graph then, a network of this project has none."""
    plain: Any = keras.applications.EfficientNetB0  # typed as if weights could not be None
    made: Any = plain(weights=None, include_top=False, input_shape=(32, 32, 3))
    made.layers[2].set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3]), np.array(7)])
    made.layers[2].finalize_state()
    file = tmp_path / "models" / "efficientnetb0_notop.h5"
    file.parent.mkdir()
    as_keras_publishes(made, file)
    digest = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setattr(
        "keras.src.backend.config._KERAS_DIR", str(tmp_path)
    )  # as KERAS_HOME, had Keras not been imported
    monkeypatch.setitem(efficientnet.WEIGHTS_HASHES, "b0", ("", digest))
    wanted: Any = keras.applications.EfficientNetB0(include_top=False, input_shape=(32, 32, 3))
    backbone: Any = build_backbone("efficientnet_b0", 32, "imagenet", "float32")
    assert len(wanted.layers) == len(backbone.layers) + 1
    pictures = np.random.default_rng(2).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = wanted.predict(pictures, verbose=0)
    np.testing.assert_allclose(backbone.predict(pictures, verbose=0), expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(made.predict(pictures, verbose=0) - expected).max() > 0.1 * np.abs(expected).max()
    again: Any = build_backbone("efficientnet_b0", 32, "none", "float32")
    backbone.save_weights(tmp_path / "saved.weights.h5")
    load_all_weights(again, tmp_path / "saved.weights.h5")
    np.testing.assert_array_equal(again.predict(pictures, verbose=0), backbone.predict(pictures, verbose=0))


def test_verify_one_file(server: Path, tmp_path: Path) -> None:
    path = server / "whole.weights.h5"
    [found] = weights.verify(path, "mobilenet")
    assert found.sha256 == sha256_of(path)
    with pytest.raises(InputError, match="add --architecture NAME"):
        list(weights.verify(path))
    with pytest.raises(InputError, match=r"whole.weights.h5 does not fit vgg16 without top"):
        list(weights.verify(path, "vgg16"))
    with pytest.raises(InputError, match=rf"has SHA-256 {found.sha256}, but should have 0{{64}}"):
        list(weights.verify(path, "mobilenet", "0" * 64))
    with pytest.raises(InputError, match=r"has no weights.json"):
        list(weights.verify(tmp_path))


def test_a_training_refuses_another_file_and_records_the_right_one(server: Path) -> None:
    path = server / "whole.weights.h5"
    digest = sha256_of(path)

    def settings(**changes: object) -> NetworkParams:
        base = {"image_size": 32, "epochs": 1.0, "batch_size": 8, "learning_rate": 0.1, "weights": str(path)}
        return NetworkParams.model_validate({**base, **changes})

    assert weights.started_from("mobilenet", settings()) == f"whole.weights.h5 (sha256 {digest})"
    assert weights.started_from("mobilenet", settings(weights_sha256=digest)).endswith(f"{digest})")
    assert weights.started_from("mobilenet", settings(weights="none")) == "none"
    with pytest.raises(
        InputError, match=rf"networks.mobilenet.weights: .* has SHA-256 {digest}, but weights_sha256 is 1+:"
    ):
        weights.started_from("mobilenet", settings(weights_sha256="1" * 64))
    with pytest.raises(InputError, match="nowhere, which is no file"):
        weights.started_from("mobilenet", settings(weights="nowhere"))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ({"frozen_epochs": 1.0}, "is for pretrained weights, but weights is none"),
        ({"weights": "imagenet", "weights_sha256": "0" * 64}, "weights_sha256 is of a file, but weights is imagenet"),
        ({"weights": "imagenet", "frozen_epochs": 1.5}, "leaves none of 1 epochs for the backbone"),
        ({"batch_size": 9}, "batch_size 9 is no multiple of training.accumulate 2"),
    ],
)
def test_settings_that_contradict_each_other_are_said(tmp_path: Path, network: dict, sentence: str) -> None:
    params = yaml.safe_load(PHANTOM.read_text(encoding="utf-8"))
    params["networks"]["vgg16"].update(network)
    params["training"]["accumulate"] = 2
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(InputError, match=sentence):
        load_params(path)


def test_the_profile_laptop_freezes_what_was_learnt_elsewhere_and_nothing_random(tmp_path: Path) -> None:
    params = yaml.safe_load((PHANTOM.parent / "laptop.yaml").read_text(encoding="utf-8"))
    (name,) = params["architectures"]
    for given in ("none", "imagenet", "phantom"):
        params["networks"][name]["weights"] = given
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        assert load_params(tmp_path / "params.yaml").networks[name].is_frozen == (given != "none")


def test_mistakes_of_a_carried_folder_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    taken = tmp_path / "apart" / "taken"
    taken.write_bytes(b"")
    (tmp_path / weights.MANIFEST).write_text(f'{{"schema": "{weights.SCHEMA}", "files": {{"a.h5": 5}}}}')
    asked = {
        ("fetch", "vgg16", "--to", str(taken)): "is a file: name a folder",
        (
            "fetch",
            "resnet5",
            "--to",
            str(tmp_path / "new"),
        ): "ich: architecture 'resnet5' is none of keras.applications",
        ("verify", str(tmp_path)): "is no manifest of schema",
        ("verify", str(taken), "--architecture", "vgg16", "--sha256", "ABC"): "ABC is no SHA-256",
    }
    for arguments, sentence in asked.items():
        told = CliRunner().invoke(app, ["weights", *arguments])
        assert told.exit_code == 2 and sentence in told.output and len(told.output.strip().splitlines()) == 1, (
            told.output
        )
    assert not (tmp_path / "new").exists()
