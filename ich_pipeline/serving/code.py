"""The code that a bundle was made with: part of its content, as weights and thresholds are.

What stands here runs from the copy that it judges, in a model that is loaded elsewhere. So it finds what was damaged or edited
there in passing; against somebody who rewrites a version on purpose helps only the digest in the registry, which
:func:`ich_pipeline.registry.versions.verified_folder` compares before anything of the version runs.
"""

from __future__ import annotations

from pathlib import Path

import ich_pipeline
from ich_pipeline.core.files import read_versioned, write_json
from ich_pipeline.serving.content import AGAIN, Content, content_of, refuse_changes

CODE = "code.json"  # in the bundle
SCHEMA = "code/1"
PACKAGE = Path(ich_pipeline.__file__).parent
IN_MODEL, BUNDLE = Path("code") / PACKAGE.name, Path("artifacts/bundle")  # where MLflow puts them inside a model


def write_code(bundle: Path) -> None:
    """Write down the sha256 of every file of the package that runs."""
    write_json(bundle / CODE, {"schema": SCHEMA, "files": _files(PACKAGE)})


def check_code(bundle: Path, package: Path, found: Content | None = None) -> None:
    """Refuse a package that is not the code of the bundle.

    Args:
        bundle: sealed.
        package: a folder ``ich_pipeline``.
        found: what it holds, where that has been looked at.

    Raises:
        InputError: a file of it was changed, is missing or was added.
    """
    refuse_changes(package, _read(bundle), _files(package) if found is None else found.sha256)


def code_beside(bundle: Path) -> Path:
    """The copy of the package that lies in the same model."""
    return bundle.parents[len(BUNDLE.parts) - 1] / IN_MODEL


def runs_other_code(bundle: Path) -> bool:
    """Does this process run another code than the bundle was made with?"""
    return _read(bundle) != _files(PACKAGE)


def _read(bundle: Path) -> dict[str, str]:
    return read_versioned(bundle / CODE, SCHEMA, AGAIN)["files"]


def _files(package: Path) -> dict[str, str]:
    return content_of(package, ()).sha256
