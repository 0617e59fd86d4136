"""Damaged files through ``ich predict`` as a user runs it: every study is accounted for, and one costs no other."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from tests.made.mutations import damaged
from tests.made.stages import SLICES
from tests.made.system import head, write_study

COUNT = 2000  # files; a few go through the server in every run of the tests (tests/service/test_serve.py)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_damaged_studies_cost_no_other(registered: int, project: Path, tmp_path: Path) -> None:
    """Of every study one slice or more is damaged, some beyond a header that names a study; two are whole."""
    rng = np.random.default_rng(14)
    sources = tmp_path / "in"
    for number in range(COUNT // SLICES):
        for at, path in enumerate(write_study(sources / f"{number:04d}", head(number % 5), f"3{number:04d}")):
            if at < 1 + number % SLICES:
                path.write_bytes(damaged(dcmread(path), int(rng.integers(6)), rng))
    for name in ("8", "9"):
        write_study(sources / name, head(int(name)), name)

    def predict(out: Path, *given: Path) -> tuple[subprocess.CompletedProcess[str], dict]:
        command = [sys.executable, "-m", "ich_pipeline.cli.main", "predict", *map(str, given), "--out", str(out)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        return done, json.loads((out / "predictions.json").read_text())

    whole, alone = predict(tmp_path / "alone", sources / "8", sources / "9")
    assert whole.returncode == 0, whole.stderr
    done, found = predict(tmp_path / "out", sources)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr[-3000:]
    assert not [why for why in found["failures"].values() if "fault of the program" in why or not why.endswith(".")]
    answers = {case["case_id"]: case for case in found["cases"]}
    for case in alone["cases"]:
        assert answers[case["case_id"]] == case
    rows = {row["case_id"]: row for row in csv.DictReader((tmp_path / "out" / "predictions.csv").open())}
    assert set(rows) == {*answers, *found["failures"]} and len(rows) >= 2 + COUNT // SLICES // 2
    assert {path.stem for path in (tmp_path / "out").glob("C*.html")} == set(answers)
    print(f"{len(answers)} studies read, {len(found['failures'])} not, files not read {found['files_not_read']}")
