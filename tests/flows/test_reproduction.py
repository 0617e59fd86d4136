"""The comparison with the recorded run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from flows.engine.reproduction import LOCK as LOCK_FILE
from flows.engine.reproduction import METRICS, Comparison, compare, compare_locks, largest_difference

LOCK = {
    "stages": {
        "ingest": {
            "deps": [{"path": "data/dicom", "md5": "d"}],
            "params": {"params.yaml": {"a": 1}},
            "outs": [{"path": "work/ingest", "md5": "i"}],
        },
        "train": {
            "deps": [{"path": "work/ingest/slices", "md5": "s"}, {"path": "code", "md5": "c"}],
            "outs": [{"path": "work/train", "md5": "t"}],
        },
    }
}


def changed(stage: str, group: str, path: str, md5: str) -> dict:
    copy = {
        "stages": {
            n: {g: [dict(e) for e in v] if isinstance(v, list) else v for g, v in s.items()}
            for n, s in LOCK["stages"].items()
        }
    }
    for entry in copy["stages"][stage][group]:
        if entry["path"] == path:
            entry["md5"] = md5
    return copy


def test_equal_locks() -> None:
    assert compare_locks(LOCK, LOCK) == ((), ())


def test_other_bytes_from_the_same_inputs() -> None:
    assert compare_locks(LOCK, changed("train", "outs", "work/train", "x")) == ((), ("train",))


def test_a_changed_output_of_an_earlier_stage_is_no_other_input() -> None:
    assert compare_locks(LOCK, changed("train", "deps", "work/ingest/slices", "x")) == ((), ())


def test_changed_code_is_another_input() -> None:
    assert compare_locks(LOCK, changed("train", "deps", "code", "x")) == (("train",), ())


def test_largest_difference_skips_what_only_one_side_has() -> None:
    before = {"t": {"slice": {"any": {"auc": {"value": 0.9, "low": 0.8}}}}}
    now = {"t": {"slice": {"any": {"auc": {"value": 0.91, "low": None}, "ap": {"value": 1.0}}}}}
    assert largest_difference(before, now) == ("t slice any auc value", 0.9, 0.91)
    assert largest_difference(before, before) is None


def test_sentences() -> None:
    assert "byte for byte" in Comparison(14, (), (), None).sentence()
    text = Comparison(14, (), ("train@a", "calibrate"), ("t slice any auc value", 0.9, 0.91)).sentence()
    assert "2 of 14" in text and "train@a, calibrate" in text and "0.9000" in text and "0.9100" in text


def test_a_run_on_other_data_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    METRICS.write_text('{"a": 1.0}')
    LOCK_FILE.write_text(yaml.safe_dump(LOCK))
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "record"], check=True)
    same = compare()
    assert same is not None and "Reproduced byte for byte" in same.sentence()
    LOCK_FILE.write_text(yaml.safe_dump(changed("ingest", "deps", "data/dicom", "other")))
    other = compare()
    assert other is not None and other.sentence().startswith("The run recorded in git is of other data")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compare() is None, "without git there is no record"
