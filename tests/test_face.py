"""The names that a notebook finds at the top of the package."""

import subprocess
import sys
from importlib import import_module

import pytest

import ich_pipeline


@pytest.mark.parametrize("name", ich_pipeline.__all__)
def test_a_name_of_the_face_is_the_rooms_own(name: str) -> None:
    found = getattr(ich_pipeline, name)
    assert getattr(import_module(found.__module__), name) is found


def test_the_face_loads_nothing_before_it_is_asked() -> None:
    code = "import sys, ich_pipeline; print(sorted({'numpy', 'pandas', 'tensorflow', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_other_name_is_invented() -> None:
    with pytest.raises(AttributeError, match="predikt"):
        ich_pipeline.predikt  # type: ignore[attr-defined]  # noqa: B018
