"""A registered version is what it was registered as, to the byte, or it is refused."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_json
from ich_pipeline.registry import store, versions
from ich_pipeline.registry.register import claim, register
from ich_pipeline.serving.bundle import SOURCES, SOURCES_SCHEMA
from ich_pipeline.serving.code import BUNDLE, CODE, runs_other_code, write_code
from ich_pipeline.serving.content import MANIFEST, check_sealed, content_of, seal
from ich_pipeline.serving.system import System
from tests.made.system import own_store_in

PARTS = (
    "networks/vgg16/network.json",
    "networks/vgg16/network.onnx",
    "ensemble.json",
    "atlas/atlas.npz",
    "system.json",
)


def small_bundle(folder: Path) -> Path:
    """The files of a bundle with a few bytes each: what they say does not matter here."""
    for number, name in enumerate(PARTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(range(number, number + 9)))
    write_json(folder / SOURCES, {"schema": SOURCES_SCHEMA, "files": {}})
    write_code(folder)
    seal(folder)
    return folder


def flip(path: Path, at: int = -1) -> bytes:
    """Change one bit; returns what was there."""
    before = path.read_bytes()
    changed = bytearray(before) or bytearray(b"\0")
    changed[at] ^= 1
    path.write_bytes(changed)
    return before


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current directory: an empty project with a store of its own."""
    folder = tmp_path_factory.mktemp("empty")
    with own_store_in(folder):
        yield folder


@pytest.fixture(scope="module")
def version(empty: Path, params: Params, bundle: Path) -> versions.Version:
    """A version of a whole system, since registration asks it for the answer to an example."""
    register(bundle, content_of(bundle), params, {}, "")
    return versions.live(params.registry.model_name)


@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.long)])
def test_a_byte_flipped_in_any_file_is_refused(version: versions.Version, step: int) -> None:
    """Of the code every tenth file here: the other files are all there."""
    folder = versions.verified_folder(version)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {"MLmodel", MANIFEST, CODE, "model_code.py", "case.html.j2", "network.onnx"} <= {path.name for path in files}
    code = [path for path in files if path.is_relative_to(folder / "code")]
    for path in [*(path for path in files if path not in code), *code[::step]]:
        before = flip(path)
        with pytest.raises(InputError, match=r"version 1 is not what was registered: .*: .*flows\.register"):
            versions.verified_folder(version)
        path.write_bytes(before)
        if path.is_relative_to(folder / BUNDLE):
            path.write_bytes(before[:-1])
            with pytest.raises(InputError, match="since the model was registered"):
                System.load(folder / BUNDLE)
            path.write_bytes(before)
    assert versions.verified_folder(version) == folder


def test_a_file_that_is_gone_or_added_is_named(version: versions.Version, tmp_path: Path) -> None:
    folder = versions.verified_folder(version)
    for name in (BUNDLE / "networks/vgg16/network.onnx", Path("code/ich_pipeline/windowing/windows.py")):
        shutil.move(folder / name, tmp_path / "away")
        with pytest.raises(InputError, match=f"{name} is missing"):
            versions.verified_folder(version)
        with pytest.raises(InputError, match=f"{name} is missing"):
            versions.move(*versions.candidate(version.name))
        shutil.move(tmp_path / "away", folder / name)
        added = folder / name.parent / "more"
        added.write_bytes(b"")
        with pytest.raises(InputError, match="more was added"):
            versions.verified_folder(version)
        added.unlink()
    assert "now version 1" in versions.move(*versions.candidate(version.name))


def test_compiled_code_is_neither_left_by_who_runs_a_version_nor_taken_from_anybody(version: versions.Version) -> None:
    """Python runs a compiled file whose stamp fits, whatever the source beside it says."""
    folder = versions.verified_folder(version)
    elsewhere = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    }
    code = f"import sys, mlflow; mlflow.pyfunc.load_model({str(folder)!r}); print(sys.modules['ich_pipeline'].__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=elsewhere, cwd=folder.parent
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert Path(done.stdout.split()[-1]).is_relative_to(folder / "code")
    assert not list(folder.rglob("*.pyc"))
    for place in ("__pycache__", "code/ich_pipeline/serving/__pycache__", "artifacts/bundle/__pycache__"):
        planted = folder / place / "system.cpython-311.pyc"
        planted.parent.mkdir()
        planted.write_bytes(b"planted")
        with pytest.raises(InputError, match="holds compiled code, which would run in place of what was registered"):
            versions.verified_folder(version)
        shutil.rmtree(planted.parent)
    assert versions.verified_folder(version) == folder


def test_who_seals_a_changed_bundle_anew_is_found_out(version: versions.Version) -> None:
    bundle = versions.verified_folder(version) / BUNDLE
    before = {path: path.read_bytes() for path in (bundle / "ensemble.json", bundle / MANIFEST)}
    flip(bundle / "ensemble.json")
    seal(bundle)
    check_sealed(bundle)
    with pytest.raises(InputError, match="holds other files"):
        System.load(bundle, version.content)
    with pytest.raises(InputError, match="holds other files"):
        versions.verified_folder(version)
    for path, content in before.items():
        path.write_bytes(content)


def test_a_changed_version_is_not_found_again(
    version: versions.Version, bundle: Path, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    weights = versions.verified_folder(version) / BUNDLE / "networks/vgg16/network.onnx"
    before = flip(weights)
    with caplog.at_level(logging.WARNING):
        assert claim(version.name, version.content) is None
    assert "network.onnx was changed" in caplog.text
    number, new = register(bundle, content_of(bundle), params, {}, "")
    assert new and number > version.number
    weights.write_bytes(before)


def test_versions_of_before_say_so(version: versions.Version, tmp_path: Path) -> None:
    client = store.client()
    client.delete_model_version_tag(version.name, str(version.number), versions.FILES)
    try:
        old = versions.resolve(str(version.number), version.name)
        with pytest.raises(InputError, match=r"version 1 was registered without a digest .*flows\.register"):
            versions.verified_folder(old)
        with pytest.raises(InputError, match="registered without a digest"):
            versions.move(*versions.candidate(version.name, version.number))
    finally:
        client.set_model_version_tag(version.name, str(version.number), versions.FILES, version.files)
    bundle = small_bundle(tmp_path / "old")
    (bundle / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"has no content\.json, .*register the model again"):
        System.load(bundle)


def test_a_bundle_that_is_not_what_it_says_is_not_registered(empty: Path, params: Params, tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    content = content_of(bundle)
    flip(bundle / "ensemble.json")
    with pytest.raises(InputError, match=r"ensemble\.json was changed"):
        register(bundle, content, params, {}, "")


def test_other_code_is_noticed(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    assert not runs_other_code(bundle)
    code = json.loads((bundle / CODE).read_text())
    code["files"]["windowing.py"] = "0" * 64
    (bundle / CODE).write_text(json.dumps(code))
    assert runs_other_code(bundle)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_byte_of_a_sealed_folder_can_change(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("sealed")
    for name in ("a", "b/c"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"0123456789" * 3)
    seal(folder)
    check_sealed(folder)
    path = data.draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.is_file())))
    flip(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    with pytest.raises(InputError):
        check_sealed(folder)


@pytest.mark.parametrize("name", ["a'b/1", 'a"b/1', "a'\"b/1", "a' OR name='x/1", "\\/1", "/1", "//", "'", ""])
def test_names_of_models_that_no_filter_can_hold(version: versions.Version, name: str) -> None:
    if name == "/1":  # without a name the default's
        assert versions.resolve(name, version.name).number == 1
        return
    with pytest.raises(InputError, match="no registered version"):
        versions.resolve(name, version.name)
