"""Register a bundle as a version of the model: once for a content, however often it is asked."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich_pipeline.config import Params
from ich_pipeline.core.files import write_json, write_text
from ich_pipeline.gate.scores import CaseScores
from ich_pipeline.registry import signature, store, tested, versions
from ich_pipeline.registry.example import DOCUMENT, example_answer, example_input, input_document
from ich_pipeline.registry.ledger import model_digest
from ich_pipeline.registry.provenance import git_tags
from ich_pipeline.registry.tracking import open_run
from ich_pipeline.serving.bundle import read_sources
from ich_pipeline.serving.code import PACKAGE
from ich_pipeline.serving.content import Content, check_sealed
from ich_pipeline.serving.golden import FILE as GOLDEN

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PAPERS = "papers"  # of the run's artifacts: cards, change plan, checklists, bill of materials
OF_TESTS = (versions.HEADLINE, versions.TEST, tested.SCORES)  # prefixes of tags that a new judgement replaces
# What reading a case imports, the packages that decode compressed pixels among them.
REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "scipy",
    "pyarrow",
    "blosc2",
    "pydantic",
    "ruamel.yaml",
    "rich",
    "pillow",
    "onnxruntime",
    "pydicom",
    "python-gdcm",
    "pyjpegls",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
)


def register(
    folder: Path,
    content: Content,
    params: Params,
    metrics: Mapping[str, float],
    card: str,
    caution: str = "",
    scores: Sequence[CaseScores] = (),
    papers: Sequence[Path] = (),
) -> tuple[int, bool]:
    """See to it that the registry holds this content and that ``challenger`` names it.

    Args:
        folder: the assembled bundle.
        content: what it holds.
        params: all parameters.
        metrics: headline metrics, shown beside the version; of a known content the newest count, as do card and caution.
        card: the model card (Markdown), the version's description.
        caution: what its tests do not show; whoever promotes it or predicts with it reads that.
        scores: of the cases of its tests, for the gate; kept in the run, of a known content the newest.
        papers: files that go with it; kept likewise.

    Returns:
        the version's number, and whether it is new.

    Raises:
        InputError: the bundle holds something else than ``content`` says, or the keys do not fit (:func:`.signature.ready`).
    """
    signature.ready()
    name = params.registry.model_name
    check_sealed(folder, content.digest)
    with store.locked("register"):
        known = claim(name, content.digest)
        if known is not None:
            _describe(name, known, _said(metrics, caution), card, scores, papers)
            return known, False
        with open_run("register", None, params, replace=False) as recorder:
            recorder.metrics(metrics)
            said = _said(metrics, caution) | tested.keep(recorder.client, recorder.run_id, scores)
            _keep_papers(recorder.client, recorder.run_id, papers)
            with _module_functions():
                uri = _log_model(recorder.run_id, folder, params)
                number = _create_version(recorder.run_id, uri, folder, content, params, said, card)
        versions.set_alias(name, versions.CHALLENGER, number)
        return number, True


def claim(name: str, digest: str) -> int | None:
    """Move ``challenger`` to the version with this content; returns its number, None where the registry has none."""
    known = versions.with_content(name, digest)
    if known is None:
        return None
    if versions.CHALLENGER not in known.aliases:
        versions.set_alias(name, versions.CHALLENGER, known.number)
    return known.number


def headline(metrics: Mapping[str, Any], any_label: str) -> dict[str, float]:
    """The figures that tell versions apart, of each test in ``reports/metrics.json``; nulls are left out."""
    found: dict[str, float] = {}
    for test, levels in metrics.items():
        for title, level, label, metric in (
            ("auc slice any", "slice", any_label, "auc"),
            ("map slice", "slice", "mean", "ap"),
            ("auc case any", "case", any_label, "auc"),
        ):
            value = levels.get(level, {}).get(label, {}).get(metric, {}).get("value")
            if value is not None:
                found[f"{test} {title}"] = float(value)
    return found


def requirements() -> list[str]:
    """The packages of :data:`REQUIREMENTS` with the versions that are installed here."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS]


def _log_model(run_id: str, folder: Path, params: Params) -> str:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    schema = ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.binary, "dicom", required=False),
                ColSpec(DataType.binary, "hu", required=False),
                ColSpec(DataType.double, "position_mm", required=False),
                ColSpec(DataType.double, "row_spacing_mm", required=False),
                ColSpec(DataType.double, "column_spacing_mm", required=False),
                ColSpec(DataType.string, "case", required=False),
            ]
        ),
        params=ParamSchema([ParamSpec("demonstration", DataType.boolean, False)]),
    )
    # MLflow tries the model in a folder that it removes at once, and a process of the model's may still write there.
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as made, store.without_bytecode():
        warnings.simplefilter("ignore", UserWarning)  # it asks for type hints, from which it would infer the signature
        document, golden = Path(made) / DOCUMENT, Path(made) / GOLDEN
        write_text(document, input_document())
        write_json(golden, example_answer(folder))
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=params.registry.model_name,
                python_model=str(PACKAGE / "registry" / "model_code.py"),
                artifacts={"bundle": str(folder), "input": str(document), "golden": str(golden)},
                input_example=example_input(),
                code_paths=[str(PACKAGE)],
                pip_requirements=requirements(),
                signature=schema,
                metadata={"labels": list(params.label_set.columns), "input": f"artifacts/{DOCUMENT}"},
            )
    return logged.model_uri


def _create_version(
    run_id: str,
    uri: str,
    folder: Path,
    content: Content,
    params: Params,
    said: Mapping[str, str],
    card: str,
) -> int:
    from mlflow.exceptions import MlflowException

    client = store.client()
    name = params.registry.model_name
    with contextlib.suppress(MlflowException):  # it exists already
        client.create_registered_model(name)
    tags = {
        versions.CONTENT: content.digest,  # with the version itself: a version without it would be registered again
        versions.MODEL: model_digest(read_sources(folder)),
        versions.PROFILE: params.profile,
        **said,
        **git_tags(),
    }
    model_id = uri.removeprefix("models:/")
    made = client.create_model_version(name, uri, run_id=run_id, tags=tags, description=card, model_id=model_id)
    # What the model's page in the UI links to its version by.
    shown = json.dumps([{"name": name, "version": made.version}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": shown})
    versions.note_files(name, int(made.version))
    return int(made.version)


def _said(metrics: Mapping[str, float], caution: str) -> dict[str, str]:
    """Tags of what the tests say of a version."""
    tags = {f"{versions.HEADLINE}{key}": f"{value:.4f}" for key, value in metrics.items()}
    return tags | ({versions.CAUTION: caution} if caution else {})


def _keep_papers(client: MlflowClient, run_id: str, papers: Sequence[Path]) -> None:
    for path in papers:
        client.log_artifact(run_id, str(path), PAPERS)


def _describe(
    name: str,
    number: int,
    said: Mapping[str, str],
    card: str,
    scores: Sequence[CaseScores],
    papers: Sequence[Path],
) -> None:
    """Put what the tests say now in the place of what they said when the version was registered."""
    client = store.client()
    before = client.get_model_version(name, str(number))
    if run_id := _run_of(client, before):  # else it stays without scores, and the gate says so
        said = {**said, **tested.keep(client, run_id, scores)}
        _keep_papers(client, run_id, papers)
    for tag in before.tags:
        if tag not in said and (tag == versions.CAUTION or tag.startswith(OF_TESTS)):
            client.delete_model_version_tag(name, str(number), tag)
    for tag, value in said.items():
        if before.tags.get(tag) != value:
            client.set_model_version_tag(name, str(number), tag, value)
    if before.description != card:
        client.update_model_version(name, str(number), description=card)


def _run_of(client: MlflowClient, version: ModelVersion) -> str | None:
    """The run that registered a version; None where it is gone: `mlflow gc` purges runs, and leaves versions."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(version.run_id).info.run_id if version.run_id else None
    except MlflowException:
        return None


@contextlib.contextmanager
def _module_functions() -> Iterator[None]:
    """Point MLflow's module-level functions at the store, and put back what they leave behind.

    Only they log a model, and the registry looks up a logged model by the process-wide address.
    """
    import mlflow

    with store.environment(MLFLOW_TRACKING_URI=store.tracking_uri(), MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false"):
        mlflow.set_tracking_uri(store.tracking_uri())
        mlflow.set_registry_uri(store.registry_uri())
        try:
            yield
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # unsets; its own tests do the same
            mlflow.set_registry_uri(None)  # type: ignore[arg-type]
