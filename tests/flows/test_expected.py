"""A run's figures against those that its profile gives."""

from __future__ import annotations

import json
from importlib.resources import files

from flows.engine.reproduction import judged
from ich_pipeline.config import load_params


def metrics(auc: float | None, ap: float | None) -> dict:
    block = {"slice": {"any": {"auc": {"value": auc}}, "mean": {"ap": {"value": ap}}}}
    return {"test_retrospective": block}


def test_each_figure_is_named_beside_its_least() -> None:
    least = {"test_retrospective": {"auc": 0.95, "ap": 0.55}}
    said = judged(least, metrics(0.96, 0.6), "any")
    assert said.startswith("As expected: slice AUC 0.960 on test_retrospective (0.95 or more), slice mAP 0.600")
    for auc, ap in ((0.94, 0.6), (0.96, 0.5), (None, 0.6)):
        assert judged(least, metrics(auc, ap), "any").startswith("Not as expected") and "MISSED" in judged(
            least, metrics(auc, ap), "any"
        )


def test_what_is_packaged_is_of_the_profile_s_tests() -> None:
    folder = files("ich_pipeline") / "profiles"
    with_expectations = [path for path in folder.iterdir() if path.name.endswith(".expected.json")]
    assert with_expectations
    for path in with_expectations:
        name = path.name.removesuffix(".expected.json")
        assert set(json.loads(path.read_text(encoding="utf-8"))) == set(load_params(folder / f"{name}.yaml").tests)  # type: ignore[arg-type]
