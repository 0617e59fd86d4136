"""Weights carried by file: fetched with a manifest, verified, refused where they are not what they should be."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from keras.src.applications import mobilenet as keras_mobilenet
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.config import NetworkParams, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json
from ich_pipeline.training import weights
from ich_pipeline.training.backbones import build_backbone

FILE = "mobilenet_1_0_224_tf_no_top.h5"
PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that a server shows under Keras' own address of MobileNet's weights, which states no hash."""
    folder = tmp_path_factory.mktemp("server")
    build_backbone("mobilenet", 32, "none", "float32").save_weights(folder / "whole.weights.h5")
    (folder / FILE).write_bytes(b"")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        patch.setattr(keras_mobilenet, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{serving.server_port}/")
        yield folder
        serving.shutdown()


def test_says_what_keras_would_download_without_downloading() -> None:
    source = weights.source_of("vgg16")
    assert source.file == "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" and source.url.endswith(source.file)
    assert source.url.startswith("https://") and source.keras_hash == "6d6bbae143d832006294945121d1f1fc"
    with pytest.raises(InputError, match="did you mean ResNet50"):
        weights.source_of("resnet5")


def test_fetch_checks_and_lists_and_verify_agrees(server: Path, tmp_path: Path) -> None:
    # Keras' servers hold the older layout, which its file name ends with.
    import h5py

    model = build_backbone("mobilenet", 32, "none", "float32")
    with h5py.File(server / FILE, "w") as file:
        from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

        save_weights_to_hdf5_group(file, model)
    folder = tmp_path / "carried"
    [found] = weights.fetch(["mobilenet"], folder)
    assert found.file == folder / FILE and found.weights == model.count_params()
    entry = read_json(folder / weights.MANIFEST)["files"][FILE]
    assert entry["sha256"] == weights.sha256_of(server / FILE) == found.sha256
    assert entry["architecture"] == "mobilenet" and entry["source"].endswith(FILE)
    assert sorted(p.name for p in folder.iterdir()) == [FILE, weights.MANIFEST], "nothing half loaded is left"

    told = CliRunner().invoke(app, ["weights", "verify", str(folder)])
    assert told.exit_code == 0 and "complete for mobilenet" in told.output and found.sha256 in told.output
    assert list(weights.verify(folder / FILE)) == [found], "the manifest beside a file counts for it too"

    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = CliRunner().invoke(app, ["weights", "verify", str(folder)])
    assert told.exit_code == 2 and "damaged or exchanged" in told.output and len(told.output.strip().splitlines()) == 1
    (folder / FILE).unlink()
    with pytest.raises(InputError, match=rf"{FILE} is missing: carry it over"):
        list(weights.verify(folder))


def test_what_cannot_be_fetched_is_said_and_nothing_is_left(server: Path, tmp_path: Path) -> None:
    (server / FILE).write_bytes(b"no weights at all")
    with pytest.raises(InputError, match="does not fit mobilenet without top"):
        weights.fetch(["mobilenet"], tmp_path / "a")
    (server / FILE).unlink()
    told = CliRunner().invoke(app, ["weights", "fetch", "mobilenet", "--to", str(tmp_path / "a")])
    assert told.exit_code == 2 and "could not be had" in told.output and "Traceback" not in told.output
    assert list((tmp_path / "a").iterdir()) == []


def test_verify_one_file(server: Path, tmp_path: Path) -> None:
    path = server / "whole.weights.h5"
    [found] = weights.verify(path, "mobilenet")
    assert found.sha256 == weights.sha256_of(path)
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
    digest = weights.sha256_of(path)

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
