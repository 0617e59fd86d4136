"""The bundle: what is in it, and a digest of the content alone."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, write_json
from ich_pipeline.serving.bundle import REFERENCE, SystemParams, assemble, read_system
from ich_pipeline.serving.content import content_of
from ich_pipeline.serving.origin import Origin
from tests.made.system import parts_of


def test_holds_what_serving_needs_and_nothing_else(bundle: Path) -> None:
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert found == {
        "networks/vgg16/network.json",
        "networks/vgg16/network.onnx",
        "networks/vgg16/head.npz",
        "networks/vgg16/attention.json",
        "networks/vgg16/tail.onnx",
        "networks/vgg16/gradients.onnx",
        "sources.json",
        "ensemble.json",
        "atlas/atlas.npz",
        "precedent/precedent.npz",
        "atlas/atlas.json",
        "atlas/maps.json",
        "origin.json",
        "reference.json",
        "system.json",
        "code.json",
        "content.json",
    }


def test_digest_is_of_paths_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"one")
    (tmp_path / "a").write_bytes(b"two")
    lines = f"{hashlib.sha256(b'two').hexdigest()}  a\n{hashlib.sha256(b'one').hexdigest()}  b/x\n"
    content = content_of(tmp_path)
    assert content.digest == hashlib.sha256(lines.encode()).hexdigest()
    assert content.files["b/x"] == {"sha256": hashlib.sha256(b"one").hexdigest(), "bytes": 3}
    (tmp_path / "a").rename(tmp_path / "c")
    assert content_of(tmp_path).digest != content.digest


def test_assembled_again_is_the_same_content(
    work: Path, bundle: Path, params: Params, origin: Origin, tmp_path: Path
) -> None:
    made = work / "work"
    again = assemble(parts_of(made), params, origin, tmp_path / "again", read_json(bundle / REFERENCE))
    assert again == content_of(bundle)


def test_a_setting_that_serving_uses_changes_the_content(
    work: Path, bundle: Path, params: Params, origin: Origin, tmp_path: Path
) -> None:
    made = work / "work"
    explain = params.explain.model_copy(update={"basis_neighbours": 2})
    other = params.model_copy(update={"explain": explain, "seed": params.seed + 1})
    content = assemble(parts_of(made), other, origin, tmp_path / "o", read_json(bundle / REFERENCE))
    before = content_of(bundle)
    changed = {name for name in content.sha256 if content.sha256[name] != before.sha256[name]}
    assert content.digest != before.digest and changed == {"system.json"}


def test_a_missing_part_is_one_sentence_and_leaves_nothing(
    work: Path, params: Params, origin: Origin, tmp_path: Path
) -> None:
    made = work / "work"
    with pytest.raises(InputError, match=r"nowhere/vgg16/network.json is missing"):
        assemble(replace(parts_of(made), train=tmp_path / "nowhere"), params, origin, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_system_json_round_trip_and_version(bundle: Path, params: Params, tmp_path: Path) -> None:
    assert read_system(bundle) == SystemParams.of(params)
    shutil.copy(bundle / "system.json", tmp_path / "system.json")
    write_json(tmp_path / "system.json", read_json(tmp_path / "system.json") | {"schema": "system/99"})
    with pytest.raises(InputError, match="system/99"):
        read_system(tmp_path)
