"""The bundle: everything that serving needs, as one folder whose content names it.

::

    networks/<architecture>/network.json, model.weights.h5
    sequence/<architecture>/head.json, head.weights.h5      where the ensemble uses the network with its sequence head
    rule/rule.npz                                           where the ensemble uses the HU rule
    ensemble.json          degrees, combiner, calibration, thresholds
    atlas/atlas.npz, atlas.json
    atlas/maps.json        which maps are shown, and how well they pointed on validation
    precedent/precedent.npz   what scans the system learned from
    origin.json            what the networks learned from
    system.json            the parameters that reading a case uses
    code.json              sha256 of every file of the package that it was made with
    content.json           sha256 of every other file, and one digest of them all

The digest is a function of the content alone, so equal content is the same version of the model; the code counts, since other
code may read the same weights otherwise.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import model_validator

from ich_pipeline.baselines.hu_rule import FILE, MEMBER
from ich_pipeline.config import ExplainParams, IngestParams, LabelParams, Params, Range, Section, WindowingParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_json, write_json
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.explain.choice import FILE as MAPS
from ich_pipeline.precedent.model import FILE as PRECEDENT_FILE
from ich_pipeline.serving.code import write_code
from ich_pipeline.serving.content import AGAIN, Content, seal
from ich_pipeline.serving.origin import Origin

SYSTEM = "system.json"
ORIGIN = "origin.json"
RULE, PRECEDENT = "rule", "precedent"
SCHEMA = "system/1"
NETWORK_FILES = ("network.json", "model.weights.h5")
HEAD_FILES = ("head.json", "head.weights.h5")


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


def assemble(parts: Parts, params: Params, origin: Origin, target: Path) -> Content:
    """Put the bundle together in ``target`` (replacing it) and say what it holds.

    Args:
        parts: where they lie.
        params: all parameters.
        origin: of the networks.
        target: the bundle.

    Raises:
        InputError: a part is missing.
    """
    with atomic_dir(target) as folder:
        for architecture in params.architectures:
            _take(NETWORK_FILES, parts.train / architecture, folder / "networks" / architecture)
        fitted = Ensemble.load(parts.ensemble)
        for architecture in fitted.heads:
            _take(HEAD_FILES, parts.sequence / architecture, folder / "sequence" / architecture)
        if MEMBER in fitted.members:
            _take((FILE,), parts.rule, folder / RULE)
        _take((parts.ensemble.name,), parts.ensemble.parent, folder)
        _take(("atlas.npz", "atlas.json", MAPS), parts.atlas, folder / "atlas")
        _take((PRECEDENT_FILE,), parts.precedent, folder / PRECEDENT)
        settings = SystemParams.of(params).model_dump(mode="json", by_alias=True)
        write_json(folder / ORIGIN, origin.to_json())
        write_json(folder / SYSTEM, {"schema": SCHEMA, **settings})
        write_code(folder)
        content = seal(folder)
    return content


def read_system(folder: Path) -> SystemParams:
    """Read a bundle's ``system.json``; InputError for another schema version."""
    raw = read_json(folder / SYSTEM)
    found = raw.pop("schema", "none")
    if found != SCHEMA:
        raise InputError(
            f"{folder / SYSTEM} has schema {found!r} where this version reads {SCHEMA!r}: register the model again."
        )

    return SystemParams.model_validate_json(json.dumps(raw))


def read_origin(folder: Path) -> Origin:
    """Read a bundle's ``origin.json``; InputError where it has none, or one of another schema version."""
    path = folder / ORIGIN
    if not path.is_file():
        raise InputError(
            f"{folder} has no {ORIGIN}, so nobody can say whether the model was trained on patients: {AGAIN}."
        )
    return Origin.from_json(read_json(path), path)


def _take(names: Iterable[str], source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (source / name).is_file():
            raise InputError(f"{source / name} is missing: run `dvc repro`, which makes it.")
        shutil.copyfile(source / name, target / name)
