"""The whole system on one case: the one implementation that the registered model and ``ich predict`` both run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.baselines.hu_rule import FILE, MEMBER, HuRule
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.stopwatch import part
from ich_pipeline.dicom import geometry
from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.reading import read
from ich_pipeline.explain.atlas import Atlas
from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.case import explain_case
from ich_pipeline.explain.choice import MapChoice
from ich_pipeline.precedent.model import FILE as PRECEDENT_FILE
from ich_pipeline.precedent.model import Judgement, Precedent
from ich_pipeline.sequence.reading import SequenceReader
from ich_pipeline.sequence.served import ServedHead
from ich_pipeline.serving.bundle import (
    PRECEDENT,
    RULE,
    SystemParams,
    needed_networks,
    read_origin,
    read_sources,
    read_system,
)
from ich_pipeline.serving.case_process import CaseReader
from ich_pipeline.serving.content import AGAIN, check_sealed
from ich_pipeline.serving.engine import ServedExplainer, ServedNetwork
from ich_pipeline.serving.file_pixels import FilePixels, ReadCase
from ich_pipeline.serving.load_case import Given
from ich_pipeline.serving.origin import Origin
from ich_pipeline.serving.verdict import withheld_case
from ich_pipeline.tables.labels import Labels
from ich_pipeline.training.spec import WEIGHTS_FILE
from ich_pipeline.windowing.crop import focus
from ich_pipeline.windowing.frame import Millimetres, check_spacing
from ich_pipeline.workers.parallel import OneProcess


@dataclass(frozen=True)
class System:
    """Networks, ensemble and atlas of one bundle, ready to read cases.

    Attributes:
        params: the settings that travelled with the model.
        origin: what the networks learned from; it has no answer for an input of another kind.
        networks: by architecture: the ensemble's members and the network whose attention is shown.
        explainer: of that network.
        sequences: by architecture: those that the ensemble uses with their sequence head.
        rule: the HU rule, where it is a member of the ensemble.
        ensemble: degrees, combiner, calibration, thresholds.
        atlas: training examples for the prediction basis.
        maps: which are shown, and how well they pointed on validation; ``params.explain`` follows it.
        precedent: what scans it learned from.
        reader: reads the files of a case, in a process of its own.
    """

    params: SystemParams
    origin: Origin
    networks: Mapping[str, ServedNetwork]
    explainer: Explainer
    sequences: Mapping[str, SequenceReader]
    rule: HuRule | None
    ensemble: Ensemble
    atlas: Atlas
    maps: MapChoice
    precedent: Precedent
    reader: CaseReader

    @classmethod
    def load(cls, folder: Path, digest: str = "", process: OneProcess | None = None) -> System:
        """Read a bundle (:mod:`ich_pipeline.serving.bundle`); networks that no answer needs stay on disk.

        Args:
            folder: the bundle.
            digest: what the registry knows its content by; empty where it is not at hand.
            process: to read cases in, where one was begun already (:meth:`~ich_pipeline.workers.parallel.OneProcess.importing`).

        Raises:
            InputError: a file is missing, is not what was registered, or is of another version.
        """
        folder = Path(folder)
        check_sealed(folder, digest)
        params, origin = read_system(folder), read_origin(folder)
        reader = CaseReader(params.ingest, process)  # its process gets ready meanwhile
        ensemble = Ensemble.load(folder / "ensemble.json")
        used = needed_networks(params.architectures, params.explain, ensemble)
        networks = {name: ServedNetwork(folder / "networks" / name) for name in used}
        heads = {name: ServedHead.load(folder / "sequence" / name, AGAIN) for name in ensemble.heads}
        sequences = {name: SequenceReader(networks[name], head) for name, head in heads.items()}
        shown = params.explain.architecture
        explainer = ServedExplainer(networks[shown], folder / "networks" / shown)
        rule = HuRule.load(folder / RULE / FILE) if MEMBER in ensemble.members else None
        if rule is not None and rule.labels != ensemble.labels.columns:
            raise InputError(
                f"{folder / RULE / FILE} scores {', '.join(rule.labels)}, the ensemble is for "
                f"{', '.join(ensemble.labels.columns)}: {AGAIN}."
            )
        atlas, maps = Atlas.load(folder / "atlas"), MapChoice.load(folder / "atlas")
        atlas.check_network(read_sources(folder)[f"networks/{shown}/{WEIGHTS_FILE}"], folder / "atlas")
        params = params.model_copy(update={"explain": maps.applied(params.explain)})
        known = folder / PRECEDENT / PRECEDENT_FILE
        precedent = Precedent.load(known)
        if precedent.architecture != params.explain.architecture:
            raise InputError(
                f"{known} is of the network {precedent.architecture}, the maps of {params.explain.architecture}: {AGAIN}."
            )
        return cls(params, origin, networks, explainer, sequences, rule, ensemble, atlas, maps, precedent, reader)

    @property
    def labels(self) -> Labels:
        """The labels of every answer."""
        return self.ensemble.labels

    def read_case(self, sources: Sequence[Given], demonstration: bool = False) -> ReadCase:
        """Read one study.

        Args:
            sources: its DICOM files, as paths or as their bytes, in any order, or their headers (see
                :func:`ich_pipeline.serving.load_case.load_case`); other series are set aside as in ingest.
            demonstration: read it even where the model has no answer for it; the case says so (``no_answer``).

        Raises:
            InputError: no series among them can be read.
        """
        with part("read DICOM"):
            case = self.reader.read(sources)
        uids, places = case.SOPInstanceUIDs, (case.turn, case.shifts_px)
        spacing = self._spacing(case.pixel_spacing_mm, f"the series of case {case.case_id}")
        facts = case.facts
        no_answer = self.origin.no_answer(facts.synthetic)
        read = (case.case_id, uids, case.hu, case.neighbours, case.positions_mm, *places, spacing)
        found = self._read(*read, no_answer, demonstration)
        drawn_mm = found.pixels.frame.even_spacing_mm(case.pixel_spacing_mm)
        scan = replace(case.scan, spacing_mm=drawn_mm)
        return replace(found, scan_cautions=case.cautions, scan=scan, facts=facts)

    def read_hu(
        self,
        hu: NDArray[np.integer],
        positions_mm: NDArray[np.floating] | None = None,
        case_id: str = "array",
        pixel_spacing_mm: Millimetres | None = None,
        demonstration: bool = False,
    ) -> ReadCase:
        """Read one case from an array instead of DICOM. Nobody knows whose head it is, so it may be a patient's.

        Args:
            hu: (n, Rows, Columns) in HU, axial, ordered along the slice normal; air is -1024.
            positions_mm: (n,) along the normal, rising; steps beyond the tolerance are gaps. None: equally spaced.
            case_id: a name for the answer.
            pixel_spacing_mm: between rows, between columns: needed by a model with ``windowing.field_of_view_mm``, and by no
                other.
            demonstration: as of :meth:`read_case`.

        Raises:
            InputError: the shape is wrong, positions do not rise, or the spacing is needed and missing or implausible.
        """
        hu = np.asarray(hu)
        if hu.ndim != 3 or 0 in hu.shape or not np.issubdtype(hu.dtype, np.number):
            raise InputError(f"HU array of case {case_id} is {hu.dtype} {hu.shape}: give numbers (n, Rows, Columns).")
        if not np.isfinite(hu).all():
            raise InputError(f"HU array of case {case_id} holds values that are not finite: give air (-1024) there.")
        positions = np.asarray(np.arange(len(hu)) if positions_mm is None else positions_mm, np.float64)
        if positions.shape != (len(hu),) or not (np.diff(positions) > 0).all():
            raise InputError(f"Positions of case {case_id} are not {len(hu)} rising numbers in mm: sort the slices.")
        if self.params.windowing.field_of_view_mm is not None and pixel_spacing_mm is None:
            raise InputError(
                f"HU array of case {case_id} comes without pixel_spacing_mm, but this model reads at true scale "
                "(windowing.field_of_view_mm): give the distance between rows and between columns in mm."
            )
        spacing = self._spacing(pixel_spacing_mm, f"the HU array of case {case_id}")
        limits = np.iinfo(np.int16)
        whole = np.rint(hu).clip(limits.min, limits.max).astype(np.int16)
        unknown = np.full(len(hu), np.nan)
        neighbours, _ = geometry.neighbours(positions, unknown, self.params.ingest.spacing_tolerance)
        uids = tuple(f"{case_id}.{index}" for index in range(len(hu)))
        read = (case_id, uids, whole, neighbours, positions, Turn(), np.zeros((len(hu), 2)), spacing)
        return self._read(*read, self.origin.no_answer(synthetic=False), demonstration)

    def _spacing(self, spacing_mm: Millimetres | None, series: str) -> Millimetres | None:
        """PixelSpacing, checked where it counts; None elsewhere."""
        allowed = self.params.pixel_spacing_mm
        if (
            self.params.windowing.field_of_view_mm is None or allowed is None
        ):  # of the first, SystemParams has the second
            return None
        return check_spacing(spacing_mm, allowed, series)

    def _read(
        self,
        case_id: str,
        uids: Sequence[str],
        hu: NDArray[np.int16],
        neighbours: NDArray[np.integer],
        positions_mm: NDArray[np.floating],
        turn: Turn,
        shifts_px: NDArray[np.float64],
        spacing_mm: Millimetres | None,
        no_answer: str,
        demonstration: bool,
    ) -> ReadCase:
        windows = self.params.windowing.windows
        rows, columns = hu.shape[1:]
        measured = {} if self.rule is None else {MEMBER: self.rule}
        sizes = {r.image_size for r in (*[n.spec for n in self.networks.values()], *measured.values(), self.precedent)}
        with part("window"):
            seen = focus(hu, self.params.windowing, spacing_mm)
            images: dict[int, NDArray[Any]] = {size: seen.prepare(size, windows) for size in sorted(sizes)}
        pixels = FilePixels((rows, columns), seen.frame, turn, shifts_px)
        shown, known = self.networks[self.params.explain.architecture], None
        judged: Judgement | None = None
        if not no_answer:
            with part("judging the scan"):
                features, known = shown.features_and_probabilities(images[shown.spec.image_size])
                judged = self.precedent.judge_slices(images[self.precedent.image_size], lambda chosen: features[chosen])
            no_answer = judged.no_answer
        if no_answer and not demonstration:
            withheld = withheld_case(
                no_answer,
                judged,
                case_id=case_id,
                sop_instance_uids=uids,
                hu=seen.shown,
                positions_mm=positions_mm,
                windows=windows,
                ensemble=self.ensemble,
            )
            return ReadCase(**vars(withheld), pixels=pixels)

        one_case = np.zeros(len(hu), np.int64)
        with part("HU rule"):
            others = {name: rule.read(images[rule.image_size], neighbours) for name, rule in measured.items()}
        reading = read(
            self.networks,
            self.ensemble,
            images,
            neighbours,
            one_case,
            everywhere=False,
            sequences=self.sequences,
            others=others,
            # What the scan was judged by is the first reading of that network already.
            known={} if known is None else {self.params.explain.architecture: known},
        )
        with part("maps"):
            explained = explain_case(
                case_id=case_id,
                sop_instance_uids=uids,
                hu=seen.shown,
                positions_mm=positions_mm,
                reading=reading,
                networks=self.networks,
                images=images,
                atlas=self.atlas,
                labels=self.labels,
                explain=self.params.explain,
                windows=windows,
                ensemble=self.ensemble,
                maps=self.maps,
                explainer=self.explainer,
            )
        return ReadCase(**vars(replace(explained, no_answer=no_answer, judged=judged)), pixels=pixels)
