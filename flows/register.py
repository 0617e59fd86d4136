"""Register: the networks, ensemble and atlas become one version of the model in MLflow, alias ``challenger``."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.baselines.hu_rule import MEMBER
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_json, read_table, write_json
from ich_pipeline.tables.schemas import CASE_PREDICTIONS_TABLE, PREDICTIONS_TABLE, SERIES_TABLE

if TYPE_CHECKING:
    from ich_pipeline.gate.scores import CaseScores
    from ich_pipeline.serving.origin import Origin

CONTENT = layout.REGISTER / "content.json"


def body(stage: Stage) -> StageResult:
    """Assemble the bundle, register it if its content is new, and write what it holds to ``content.json``."""
    number, new = _register(stage.params)
    name = stage.params.registry.model_name
    content = read_json(CONTENT)
    files = pd.DataFrame([{"file": path, "MB": round(one["bytes"] / 1e6, 1)} for path, one in content["files"].items()])
    state = "new" if new else "holds this content already"
    return StageResult(f"{name} version {number} ({state}), alias challenger", tables={"content": files})


def ensure_registered() -> tuple[str, bool]:
    """The version that holds the content of an up-to-date graph, registered again where the store lost it.

    Returns:
        the version's number, and whether it was registered just now.

    Raises:
        InputError: ``work/`` lacks a part of the bundle, or the keys do not fit.
    """
    from ich_pipeline.registry import signature
    from ich_pipeline.registry.register import claim

    signature.ready()  # else a version that is there looks lost
    params = load_params()
    known = claim(params.registry.model_name, read_json(CONTENT)["digest"])
    if known is not None:
        return str(known), False
    number, new = _register(params, write=False)
    return str(number), new


def _register(params: Params, write: bool = True) -> tuple[int, bool]:
    from ich_pipeline.papers.fill import NAMES
    from ich_pipeline.registry import signature
    from ich_pipeline.registry.register import headline, register
    from ich_pipeline.serving.bundle import Parts, assemble
    from ich_pipeline.watch.measurements import of_stages

    signature.ready()
    layout.STATE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.STATE, prefix="register-") as folder:
        bundle = Path(folder) / "bundle"
        parts = Parts(
            train=layout.TRAIN,
            sequence=layout.SEQUENCE,
            rule=layout.BASELINES / MEMBER,
            ensemble=layout.CALIBRATE / "ensemble.json",
            atlas=layout.ATLAS,
            precedent=layout.PRECEDENT,
        )
        reference = of_stages(layout.CALIBRATE, layout.WINDOW, layout.INGEST, layout.PRECEDENT).to_json()
        content = assemble(parts, params, _origin(params), bundle, reference)
        recorded = read_json(layout.REPORTS / "metrics.json")
        results = {test: recorded[test] for test in params.tests}
        metrics = headline(results, params.labels.any)
        caution = " ".join(_cautions())
        card = (layout.REPORTS / "model_card.md").read_text(encoding="utf-8")
        papers = [*(layout.REPORTS / name for name in NAMES), *_bill(Path(folder))]
        registered = register(bundle, content, params, metrics, card, caution, _scores(params), papers)
    if write:
        with atomic_dir(layout.REGISTER) as target:
            write_json(target / CONTENT.name, content.to_json())
    return registered


def _bill(folder: Path) -> list[Path]:
    """``sbom.json``, where there is a lock to make it of: a folder of data and settings alone has none."""
    from ich_pipeline.papers.sbom import LOCK, sbom

    if not LOCK.is_file():
        return []
    bill = folder / "sbom.json"
    try:
        write_json(bill, sbom())
    except InputError as error:  # a project's own lock, such as one without hashes
        logging.getLogger(__name__).warning("The version goes without a bill of materials: %s", error)
        return []
    return [bill]


def _cautions() -> list[str]:
    return read_json(layout.REPORTS / "headline.json")["cautions"]


def _scores(params: Params) -> list[CaseScores]:
    """The reading of each test, case by case, for the gate; of the labels only the digest and a key are taken."""
    from ich_pipeline.evaluation.subgroups import case_facts
    from ich_pipeline.gate.scores import case_scores
    from ich_pipeline.tables.masks import Masks

    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    found = []
    for test in params.tests:
        cases = read_table(layout.EVALUATE / test / "cases.parquet", CASE_PREDICTIONS_TABLE)
        slices = read_table(layout.EVALUATE / test / "slices.parquet", PREDICTIONS_TABLE)
        labels = (layout.SPLIT / "sealed" / f"{test}.csv").read_bytes()
        facts = case_facts(list(cases["case_id"]), series, slices, Masks(layout.MASKS, {}, {}))
        of_test = (cases, slices, facts, params.labels.any, params.evaluation.subgroups)
        found.append(case_scores(test, labels, *of_test, _cautions()))
    return found


def _origin(params: Params) -> Origin:
    from ich_pipeline.serving.origin import find_origin

    networks = [layout.TRAIN / name / "network.json" for name in params.architectures]
    return find_origin(layout.DATA, layout.INGEST, layout.SPLIT, networks)


if __name__ == "__main__":
    main("register", body)
