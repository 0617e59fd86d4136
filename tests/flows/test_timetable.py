"""What a run says of its length: from what stages took here, else as recorded, else that it is not known."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.engine import graph
from flows.engine.timetable import FILE, Timetable
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.files import read_json, write_json

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    return load_params(ROOT / "params.yaml")


def test_the_graph_lists_each_stage_after_those_it_needs(params: Params) -> None:
    described = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    order = list(described)
    outs = {
        str(out).split("$")[0].rstrip("/"): name
        for name, of in described.items()
        for out in of["outs"]
        if isinstance(out, str)
    }
    for name, of in described.items():
        for dep in of["deps"]:
            maker = next((m for out, m in outs.items() if str(dep).split("$")[0].rstrip("/").startswith(out)), None)
            assert maker is None or maker == name or order.index(maker) < order.index(name), (name, dep)
    titles = [graph.title(*one) for one in graph.stages(params)]
    assert "train@vgg16" in titles and "evaluate@test_prospective" in titles and len(set(titles)) == len(titles)


def test_it_knows_nothing_then_counts_then_knows(params: Params) -> None:
    params = params.model_copy(update={"profile": "unheard_of"})
    first = Timetable(params)
    assert "known after the first run" in first.opening()
    names = [graph.title(*one) for one in graph.stages(params)]
    lines = [f"Running stage '{name}':" for name in names[:2]] + [f"Stage '{names[2]}' didn't change, skipping"]
    said = list(first.watch(iter(lines)))
    assert said[0].startswith(f"[1 of {len(names)}] {names[0]}") and said[2].startswith(f"[2 of {len(names)}]")
    assert set(read_json(FILE)) == set(names[:2])
    write_json(FILE, dict.fromkeys(names, 60.0))
    second = Timetable(params)
    assert f"about {len(names)} min if all run (as they took here)" in second.opening()
    assert f"at most {len(names)} min left" in next(second.watch(iter(lines)))


def test_a_broken_file_of_times_is_no_fault(params: Params) -> None:
    FILE.parent.mkdir(parents=True)
    FILE.write_text("[]", encoding="utf-8")
    Timetable(params).opening()
