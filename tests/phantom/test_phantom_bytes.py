"""The phantom is equal to the byte: across runs, numbers of workers, and machines."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # type: ignore[attr-defined]

import ich_pipeline.phantom
from ich_pipeline.phantom import create_phantom
from ich_pipeline.phantom.scanners import SCANNERS

# Recorded where the phantom was last changed on purpose. Another machine that gives other bytes fails here.
GOLDEN = "a7e523fbee0629505ea3d6b7c094124dc6e70b9fa4e627fe55847bab0e1352af"

FOLDER = Path(ich_pipeline.phantom.__file__).parent
MODULES = sorted(path for path in FOLDER.glob("*.py") if path.name != "montage.py")  # which draws a picture of them
# numpy functions whose result IEEE 754 or integer arithmetic fixes to the last bit.
EXACT = {
    "abs", "arange", "array", "asarray", "bool_", "broadcast_to", "ceil", "clip", "concatenate", "count_nonzero", "diff", "floating",
    "flatnonzero", "float32", "float64", "floor", "full", "int32", "int64", "integer", "maximum", "minimum", "pad",
    "random", "rint", "sqrt", "uint16", "uint8", "where", "zeros", "zeros_like",
}  # fmt: skip
# Methods of arrays that round in an order, or by a library, of the machine's choosing.
INEXACT_METHODS = {"sum", "mean", "std", "var", "dot", "prod", "cumsum", "trace"}


def test_golden_bytes(tiny_phantom: Path, tree_sha256) -> None:
    assert tree_sha256(tiny_phantom) == GOLDEN


def test_golden_cohort_holds_every_scanner(tiny_phantom: Path) -> None:
    files = (p for p in (tiny_phantom / "dicom").rglob("*") if p.is_file())
    made_by = {pydicom.dcmread(p, stop_before_pixels=True).Manufacturer for p in files}
    assert made_by == {scanner.manufacturer for scanner in SCANNERS}


def test_workers_do_not_change_bytes(tiny_phantom: Path, tiny_params, tree_sha256, tmp_path: Path) -> None:
    create_phantom(tiny_params(), tmp_path / "data", workers=2)
    assert tree_sha256(tmp_path / "data") == tree_sha256(tiny_phantom)


def test_processor_features_do_not_change_bytes(tiny_phantom: Path, tiny_params, tree_sha256, tmp_path: Path) -> None:
    """numpy without the vector instructions of this processor (AVX2, fused multiply-add …) stands for an older one."""
    features = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if not features:
        pytest.skip("numpy uses no instructions here beyond its baseline")
    (tmp_path / "params.json").write_text(tiny_params().model_dump_json(by_alias=True), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from ich_pipeline.phantom import create_phantom;"
        "from ich_pipeline.config import load_params;"
        "create_phantom(load_params(Path(sys.argv[1])), Path(sys.argv[2]), workers=1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "params.json"), str(tmp_path / "data")]
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(features)}
    subprocess.run(command, check=True, env=environment)
    assert tree_sha256(tmp_path / "data") == tree_sha256(tiny_phantom)


def test_seed_changes_bytes(tiny_phantom: Path, tiny_params, tree_sha256, tmp_path: Path) -> None:
    create_phantom(tiny_params(seed=8), tmp_path / "data", workers=1)
    assert tree_sha256(tmp_path / "data") != tree_sha256(tiny_phantom)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_only_exact_arithmetic(module: Path) -> None:
    assert inexact(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source", ["np.sin(x)", "x @ y", "math.exp(1)", "x.sum()", "np.random.default_rng(1)", "x ** 2", "pow(x, 2)"]
)
def test_inexact_arithmetic_is_seen(source: str) -> None:
    assert inexact(source)


def inexact(source: str) -> list[str]:
    """What a module does that another machine may round differently."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner == "np" and node.attr not in EXACT:
                found.append(f"np.{node.attr}")
            elif owner == "np.random" and node.attr != "PCG64":
                found.append(f"np.random.{node.attr}")
            elif owner == "math" and node.attr != "sqrt":
                found.append(f"math.{node.attr}")
            elif node.attr in INEXACT_METHODS:
                found.append(ast.unparse(node))
        elif isinstance(node, (ast.BinOp, ast.AugAssign)):
            if isinstance(node.op, (ast.MatMult, ast.Pow)):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pow":
            found.append(ast.unparse(node))
    return found
