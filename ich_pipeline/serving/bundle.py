"""The bundle: everything that serving needs, as one folder whose content names it.

::

    networks/<architecture>/network.json, network.onnx, head.npz        each network that an answer needs, as ONNX
                            attention.json, tail.onnx, gradients.onnx        of the one whose maps are shown
    sequence/<architecture>/head.json, head.npz             where the ensemble uses the network with its sequence head
    rule/rule.npz                                           where the ensemble uses the HU rule
    ensemble.json          degrees, combiner, calibration, thresholds
    atlas/atlas.npz, atlas.json
    atlas/maps.json        which maps are shown, and how well they pointed on validation
    precedent/precedent.npz   what scans the system learned from
    reference.json         what cases are like that they did not learn from, for the watch over served ones
    origin.json            what the networks learned from
    system.json            the parameters that reading a case uses
    sources.json           sha256 of the networks, heads, rule and ensemble that it was made from
    code.json              sha256 of every file of the package that it was made with
    content.json           sha256 of every other file, and one digest of them all

The digest is a function of the content alone, so equal content is the same version of the model; the code counts, since other
code may read the same weights otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import model_validator

from ich_pipeline.baselines.hu_rule import FILE, MEMBER
from ich_pipeline.config import ExplainParams, IngestParams, LabelParams, Params, Range, Section, WindowingParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_versioned, sha256_of, write_json
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.explain.atlas import Atlas
from ich_pipeline.explain.choice import FILE as MAPS
from ich_pipeline.explain.choice import MapChoice
from ich_pipeline.precedent.model import FILE as PRECEDENT_FILE
from ich_pipeline.sequence.member import architecture_of
from ich_pipeline.sequence.spec import SPEC_FILE as HEAD_SPEC
from ich_pipeline.serving.code import write_code
from ich_pipeline.serving.content import AGAIN, Content, seal
from ich_pipeline.serving.origin import SCHEMA as ORIGIN_SCHEMA
from ich_pipeline.serving.origin import Origin
from ich_pipeline.training.spec import SPEC_FILE, WEIGHTS_FILE

SYSTEM = "system.json"
ORIGIN = "origin.json"
REFERENCE = "reference.json"
SOURCES, SOURCES_SCHEMA = "sources.json", "sources/1"
RULE, PRECEDENT = "rule", "precedent"
SCHEMA = "system/1"
NETWORK_FILES = (SPEC_FILE, WEIGHTS_FILE)
HEAD_FILES = (HEAD_SPEC, "head.weights.h5")


class SystemParams(Section):
    """The part of ``params.yaml`` that travels with the model (``system.json``)."""

    labels: LabelParams
    ingest: IngestParams
    windowing: WindowingParams
    architectures: tuple[str, ...]
    explain: ExplainParams
    # validate's; a default, because models from before windowing.field_of_view_mm lack it
    pixel_spacing_mm: Range | None = None

    @model_validator(mode="after")
    def _scale_has_its_limits(self) -> SystemParams:
        if self.windowing.field_of_view_mm is not None and self.pixel_spacing_mm is None:
            raise ValueError("windowing.field_of_view_mm needs pixel_spacing_mm, the range of plausible PixelSpacing")
        return self

    @classmethod
    def of(cls, params: Params) -> SystemParams:
        """What serving needs of all parameters. Worker processes are a matter of the machine, not of the model."""
        return cls(
            labels=params.labels,
            ingest=params.ingest.model_copy(update={"workers": 1}),
            windowing=params.windowing,
            architectures=params.architectures,
            explain=params.explain,
            pixel_spacing_mm=params.validate_.pixel_spacing_mm,
        )


@dataclass(frozen=True)
class Parts:
    """Where the parts of a bundle lie.

    Attributes:
        train: holds ``<architecture>/network.json`` and ``model.weights.h5`` for each of ``params.architectures``.
        sequence: holds ``<architecture>/head.json`` and ``head.weights.h5`` for each head that the ensemble uses.
        rule: holds ``rule.npz``, if the ensemble uses the HU rule.
        ensemble: ``ensemble.json``.
        atlas: holds ``atlas.npz``, ``atlas.json`` and ``maps.json``.
        precedent: holds ``precedent.npz``.
    """

    train: Path
    sequence: Path
    rule: Path
    ensemble: Path
    atlas: Path
    precedent: Path


def assemble(
    parts: Parts, params: Params, origin: Origin, target: Path, reference: Mapping[str, Any] | None = None
) -> Content:
    """Put the bundle together in ``target`` (replacing it) and say what it holds.

    Args:
        parts: where they lie.
        params: all parameters.
        origin: of the networks.
        target: the bundle.
        reference: JSON values of :class:`ich_pipeline.watch.measurements.Measurements`; without them nobody can watch it.

    Raises:
        InputError: a part is missing, or a network as ONNX answers otherwise than it did.
    """
    with atomic_dir(target) as folder:
        fitted = Ensemble.load(parts.ensemble)
        sources = _sources(parts, params.architectures, fitted)
        _take(("atlas.npz", "atlas.json", MAPS), parts.atlas, folder / "atlas")
        if MEMBER in fitted.members:
            _take((FILE,), parts.rule, folder / RULE)
        _take((parts.ensemble.name,), parts.ensemble.parent, folder)
        write_json(folder / SOURCES, {"schema": SOURCES_SCHEMA, "files": {n: sha256_of(p) for n, p in sources.items()}})
        _export(parts, params, fitted, folder)
        _take((PRECEDENT_FILE,), parts.precedent, folder / PRECEDENT)
        settings = SystemParams.of(params).model_dump(mode="json", by_alias=True)
        write_json(folder / ORIGIN, origin.to_json())
        if reference is not None:
            write_json(folder / REFERENCE, reference)
        write_json(folder / SYSTEM, {"schema": SCHEMA, **settings})
        write_code(folder)
        content = seal(folder)
    return content


def _sources(parts: Parts, architectures: Iterable[str], ensemble: Ensemble) -> dict[str, Path]:
    """What a bundle is made from, by the names that the test ledger gives it."""
    found = {f"networks/{name}/{file}": parts.train / name / file for name in architectures for file in NETWORK_FILES}
    for name in ensemble.heads:
        found |= {f"sequence/{name}/{file}": parts.sequence / name / file for file in HEAD_FILES}
    if MEMBER in ensemble.members:
        found[f"rule/{FILE}"] = parts.rule / FILE
    found["ensemble.json"] = parts.ensemble
    for path in found.values():
        if not path.is_file():
            raise InputError(f"{path} is missing: run `dvc repro`, which makes it.")
    return found


def needed_networks(architectures: Iterable[str], explain: ExplainParams, ensemble: Ensemble) -> tuple[str, ...]:
    """Those of the networks that an answer needs: members of the ensemble, and the one whose maps are shown."""
    used = {explain.architecture, *map(architecture_of, ensemble.members)}
    return tuple(name for name in architectures if name in used)


def _export(parts: Parts, params: Params, ensemble: Ensemble, folder: Path) -> None:
    with _of_tensorflow():
        from ich_pipeline.serving.export import export_head, export_network

    slices = Atlas.load(parts.atlas).thumbnails  # of training patients
    shown = MapChoice.load(parts.atlas).applied(params.explain)
    for name in needed_networks(params.architectures, params.explain, ensemble):
        target = folder / "networks" / name
        _take((SPEC_FILE,), parts.train / name, target)
        explain = shown if name == shown.architecture else None
        export_network(parts.train / name, target, slices, explain)
    for name in ensemble.heads:
        target = folder / "sequence" / name
        _take((HEAD_SPEC,), parts.sequence / name, target)
        export_head(parts.sequence / name, target, slices, parts.train / name, folder / "networks" / name)


@contextlib.contextmanager
def _of_tensorflow() -> Iterator[None]:
    """Keras that is imported within is TensorFlow's, which alone can be exported, whatever trained the networks."""
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        yield
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before


def read_sources(folder: Path) -> dict[str, str]:
    """The sha256 of what a bundle was made from, by name; InputError where it has none, or one of another schema version."""
    return read_versioned(folder / SOURCES, SOURCES_SCHEMA, AGAIN)["files"]


def read_system(folder: Path) -> SystemParams:
    """Read a bundle's ``system.json``; InputError for another schema version."""
    return SystemParams.model_validate_json(json.dumps(read_versioned(folder / SYSTEM, SCHEMA, AGAIN)))


def read_origin(folder: Path) -> Origin:
    """Read a bundle's ``origin.json``; InputError where it has none, or one of another schema version."""
    path = folder / ORIGIN
    if not path.is_file():
        raise InputError(
            f"{folder} has no {ORIGIN}, so nobody can say whether the model was trained on patients: {AGAIN}."
        )
    return Origin.from_json(read_versioned(path, ORIGIN_SCHEMA, AGAIN))


def _take(names: Iterable[str], source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (source / name).is_file():
            raise InputError(f"{source / name} is missing: run `dvc repro`, which makes it.")
        shutil.copyfile(source / name, target / name)
