"""What all tests share: where the project is, real data where it is there, system programs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.made.system import bundle, origin, params, studies, synthetic_bundle, work  # noqa: F401  # made once, for all

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The top folder of the project under test."""
    return ROOT


@pytest.fixture
def project(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: nothing but params.yaml of the phantom profile."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", folder / "params.yaml")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real head CT (ICH_TEST_DATA, or shared/data beside the project); skips where there is none."""
    named = os.environ.get("ICH_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"ICH_TEST_DATA names {named}, which is no folder")
        pytest.skip("no real head CT here: set ICH_TEST_DATA to a folder that holds it")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of chromium; skips with the line that installs it, but fails where CI must have it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "chromium is missing: run .ci/system-packages (Debian: apt-get install chromium)"
        if os.environ.get("ICH_CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The end-to-end project takes longest, so it begins first."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Where tests run in two processes: the end-to-end project is one piece of work, every other file is one."""

    class ByProject(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "end_to_end" if "/end_to_end/" in file else file

    return ByProject(config, log)
