"""A small project in a temporary folder, on which the real chain runs once a session: real stages, real DVC, real MLflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

PICTURE = re.compile(rb"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+")
COPIED = ("ich_pipeline", "flows", "dvc.yaml", "frozen.json", ".dvcignore", ".gitignore", "pyproject.toml")


@dataclass(frozen=True)
class Project:
    """A project folder and how to run things in it."""

    root: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m …`` in the project, with no Prefect API unless ``environment`` names one."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "ICH_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", "")])
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.root,
            env={**clean, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "MLFLOW_DISABLE_TELEMETRY": "true", **environment},
            capture_output=True,
            text=True,
            timeout=1400,
        )

    def params(self, change: Callable[[dict], None]) -> None:
        """Change params.yaml in place."""
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text())
        change(values)
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def copy(self, target: Path) -> Project:
        """A copy of the project."""
        shutil.copytree(self.root, target, symlinks=True)
        return Project(target)


def without_pictures(content: bytes) -> bytes:
    """A page or an answer without the pictures in it: a few characters of base64 spell a short name by chance now and then."""
    return PICTURE.sub(b"", content)


def tiny(values: dict) -> None:
    """The phantom profile made as small as the chain bears: two architectures, 48 patients, 6 slices of 96 pixels.

    One network learns whole, the other is a head on features of what it learnt on other synthetic heads.
    """
    values["phantom"].update(patients=48, slices=6, size=96, faint_fraction=0.1)
    values["architectures"] = ["resnet50", "vgg16"]
    values["networks"] = {
        name: {**values["networks"][name], "image_size": 48, "epochs": 1, "batch_size": 16}
        for name in values["architectures"]
    }
    values["networks"]["vgg16"].update(weights="phantom", frozen_layers=1)
    values["pretrain"].update(patients=24, slices=6, validation_patients=6, epochs=1)
    values["pretrain"]["cuts"] = {"vgg16": "block4_pool"}
    values["windowing"]["sizes"] = [48]
    values["ablation"] = ["resnet50"]
    values["sequence"].update(architectures=["resnet50"], units=8, epochs=3)
    values["explain"]["architecture"] = "resnet50"
    values["interpolation"]["candidates"] = [0, 0.3]
    values["ensemble"]["folds"] = 2
    values["split"].update(validation=0.15)
    values["split"]["folds"]["below_patients"] = 0
    values["split"]["retrospective"]["patients"] = 0.15
    values["split"]["prospective"]["patients"] = 0.15
    values["evaluation"]["bootstrap"] = 100
    values["baselines"]["trees"] = 20
    values["training"]["validations"] = 1
    values["report"].update(case_pages=2, attention_examples=1)


def new_project(root: Path, source: Path) -> Project:
    """The code and settings of ``source`` in an empty git and DVC project at ``root``."""
    root.mkdir(parents=True)
    for name in COPIED:
        origin = source / name
        if origin.is_dir():
            shutil.copytree(origin, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, root / name)
    shutil.copy(source / "ich_pipeline" / "profiles" / "phantom.yaml", root / "params.yaml")
    (root / "mlruns").mkdir()
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=root, check=True)
    (root / ".dvc" / "config").write_text((source / ".dvc" / "config").read_text())
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "start"], cwd=root, check=True)
    return Project(root)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Callable[[str], Project]:
    """Makes a small project where nothing has run."""

    def make(name: str) -> Project:
        project = new_project(tmp_path_factory.mktemp(name) / "project", project_root)
        project.params(tiny)
        return project

    return make


@pytest.fixture(scope="session")
def chain(fresh: Callable[[str], Project]) -> Project:
    """A small project on which the whole chain ran, as ``make repro`` runs it."""
    project = fresh("chain")
    done = project.run("flows.pipeline")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    (project.root / ".state" / "pipeline-output.txt").write_text(done.stdout)
    return project
