"""The package alone, without its extras: what works, and what the rest says."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ich_pipeline.cli.shared import EXTRAS
from ich_pipeline.phantom import create_phantom
from tests.stages import params_of_one_size

BARE = f"""
import sys
for name in {[name for names in EXTRAS.values() for name in names]}:
    sys.modules[name] = None  # as if it were not installed
from ich_pipeline.cli.main import main
sys.argv = ["ich", *sys.argv[1:]]
main()
"""


def bare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BARE, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    params = params_of_one_size(project_root, folder, 64)
    tiny = params.phantom.model_copy(update={"patients": 6, "slices": 5, "size": 64})
    create_phantom(params.model_copy(update={"phantom": tiny}), folder / "data", workers=1)
    return folder


def test_ingest_and_deidentify_need_no_extra(export: Path) -> None:
    done = bare(export, "ingest", "data/dicom", "--out", "out")
    assert done.returncode == 0 and (export / "out" / "account.csv").exists(), done.stderr
    done = bare(export, "deidentify", "--new-key", "key")
    assert done.returncode == 0, done.stderr
    done = bare(export, "deidentify", "data/dicom", "--out", "clean", "--key", "key")
    assert done.returncode == 0 and any((export / "clean").rglob("*.dcm")), done.stderr


def test_evaluate_needs_no_extra(export: Path) -> None:
    rows = range(40)
    (export / "p.csv").write_text("case_id,any\n" + "".join(f"c{i},{(i * 37 % 40) / 40}\n" for i in rows))
    (export / "l.csv").write_text("case_id,any\n" + "".join(f"c{i},{i % 2}\n" for i in rows))
    done = bare(export, "evaluate", "p.csv", "--labels", "l.csv", "--out", "judged")
    assert done.returncode == 0 and (export / "judged" / "index.html").exists(), done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("predict", "data/dicom", "--out", "p"), "pipeline"), (("weights", "fetch", "--to", "w"), "train")],
)
def test_what_needs_one_says_which(export: Path, arguments: tuple[str, ...], extra: str) -> None:
    done = bare(export, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and f"'ich-pipeline[{extra}]'" in done.stderr, (
        done.stderr
    )


def test_the_character_reader_is_asked_for_before_any_file_is_read(export: Path) -> None:
    assert bare(export, "deidentify", "--new-key", "another").returncode == 0
    done = bare(export, "deidentify", "data/dicom", "--out", "read", "--key", "another", "--ocr")
    assert done.returncode == 2 and "'ich-pipeline[ocr]'" in done.stderr and not (export / "read").exists(), done.stderr


def test_the_extras_are_those_of_the_project(project_root: Path) -> None:
    named = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        said = " ".join(named[extra]).replace("-", "_")
        assert all(module in said for module in modules), extra
