"""Tables that `ich evaluate` is given, and how it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ich_pipeline.cli.main import app

FINDINGS = ("ICH", "SDH")


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Probabilities of 40 cases, and three readers who mostly agree."""
    rng = np.random.default_rng(1)
    truth = rng.random((40, 2)) < 0.4
    scores = np.clip(truth * 0.4 + rng.random((40, 2)) * 0.6, 0, 1).round(3)
    reads = truth[:, None, :] ^ (rng.random((40, 3, 2)) < 0.1)
    head = "name,Category," + ",".join(f"R{r}:{f}" for r in (1, 2, 3) for f in FINDINGS)
    lines = [f"case-{i},B1," + ",".join(str(int(v)) for v in reads[i].ravel()) for i in range(40)]
    predictions = write(
        tmp_path / "p.csv", "name,ICH,SDH,Other", *(f"case-{i},{a},{b},0.1" for i, (a, b) in enumerate(scores))
    )
    return predictions, write(tmp_path / "reads.csv", head, *lines[::-1])


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def refused(*arguments: str | Path) -> str:
    status, _, error = run(*arguments)
    assert status == 2 and error.startswith("ich: ") and len(error.strip().splitlines()) == 1, error
    return error
