"""A small real system (one network, ensemble, atlas), two studies in DICOM, and a project folder with a real MLflow store."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from ich_pipeline.config import Params, load_params
from ich_pipeline.papers.fill import NAMES as PAPERS
from ich_pipeline.precedent.model import FILE as PRECEDENT
from ich_pipeline.report.cautions import cautions
from ich_pipeline.serving.bundle import Parts
from ich_pipeline.serving.origin import Origin
from tests.made.stages import SLICES, write_learners, write_tests, write_validation

if TYPE_CHECKING:
    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.precedent.model import Precedent
    from ich_pipeline.training.network import Network

ARCHITECTURE = "vgg16"  # its features vary from slice to slice without training
CUT = "block3_pool"  # a small graph is exported in a third of the time of a whole one
SIZE = 32
HEAD_SPREAD = 0.2  # of the head's random weights: scores neither equal nor all 0 and 1
NAMES: tuple[str, ...] = ("high_sensitivity", "balanced", "high_specificity")
PATIENT_ID = "HOSP-4711-PLANTED"
PATIENT_NAME = "PLANTED^PATIENT"


def small_params(root: Path) -> Params:
    """The phantom profile with one small network."""
    params = load_params(root / "ich_pipeline" / "profiles" / "phantom.yaml")
    network = next(iter(params.networks.values())).model_copy(update={"image_size": SIZE})
    explain = params.explain.model_copy(update={"architecture": ARCHITECTURE, "minimum_map": 8})
    return params.model_copy(
        update={
            "architectures": (ARCHITECTURE,),
            "sequence": params.sequence.model_copy(update={"architectures": ()}),
            "networks": {ARCHITECTURE: network},
            "windowing": params.windowing.model_copy(update={"sizes": (SIZE,)}),
            "ablation": (ARCHITECTURE,),
            "baselines": params.baselines.model_copy(update={"random_network": ARCHITECTURE}),
            "explain": explain,
        }
    )


@pytest.fixture(scope="session")
def params(project_root: Path) -> Params:
    """Parameters of the small system."""
    return small_params(project_root)


def head(seed: int) -> NDArray[np.int16]:
    """(SLICES, 64, 64) HU: a skull ring, brain at 35 HU with noise, and a bright blob in the middle slices."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    radius = np.hypot(x, y * 0.85)
    hu = np.where(radius < 0.8, 35, -1000) + np.zeros((SLICES, 1, 1), np.int64)
    hu = hu + np.where(radius < 0.8, rng.integers(-6, 7, (SLICES, 64, 64)), 0)
    hu[:, (radius >= 0.8) & (radius < 0.88)] = 1000
    blob = np.hypot(x - 0.3, y + 0.1 * seed) < 0.25
    hu[2:4, blob] = 70
    return hu.astype(np.int16)


def write_study(
    folder: Path, hu: NDArray[np.int16], study: str, manufacturer: str = "Test", kernel: str = "H30s"
) -> list[Path]:
    """Write one study as CT Image Storage, file names in no order; returns the files in order of position."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, picture in enumerate(hu):
        uid = f"2.25.{study}{index + 100}"
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID(uid)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"2.25.{study}1", f"2.25.{study}2"
        ds.PatientID, ds.PatientName = PATIENT_ID, PATIENT_NAME
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Manufacturer, ds.ConvolutionKernel, ds.StudyDate = manufacturer, kernel, "20200101"
        ds.Rows, ds.Columns = picture.shape
        ds.PixelSpacing, ds.SliceThickness = [3.0, 3.0], 5
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [0, 0, 5 * index]
        ds.InstanceNumber = index + 1
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.PixelData = picture.astype("<i2").tobytes()
        path = folder / f"{(index * 5) % 7}_{study}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


@dataclass(frozen=True)
class Studies:
    """Two studies below one folder, and their HU."""

    folder: Path
    files: tuple[list[Path], list[Path]]
    hu: tuple[NDArray[np.int16], NDArray[np.int16]]


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Studies:
    """Two readable studies and a file that is no DICOM."""
    folder = tmp_path_factory.mktemp("studies")
    hu = (head(1), head(2))
    files = (write_study(folder / "a", hu[0], "7"), write_study(folder / "b", hu[1], "8"))
    (folder / "notes.txt").write_text("not DICOM")
    return Studies(folder, files, hu)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """``work/`` and ``reports/`` as the stages before register leave them, from a real network with random weights."""
    from ich_pipeline.core.files import write_json, write_text
    from ich_pipeline.ensemble.calibration import Calibration
    from ich_pipeline.ensemble.case_score import CaseScore
    from ich_pipeline.ensemble.combiners import Combiner
    from ich_pipeline.ensemble.conformal import ConformalLabel
    from ich_pipeline.ensemble.model import Ensemble, ReadingModel
    from ich_pipeline.ensemble.operating_points import OperatingPoint
    from ich_pipeline.ensemble.uncertainty import Uncertainty
    from ich_pipeline.training.network import Network, NetworkSpec
    from ich_pipeline.windowing.windows import Window, prepare
    from tests.made.atlas import save_atlas

    root = tmp_path_factory.mktemp("made")
    labels = params.label_set
    windows = tuple(Window(w.name, w.center, w.width) for w in params.windowing.windows)
    spec = NetworkSpec(ARCHITECTURE, SIZE, windows, labels.columns, "none", "float32", 0.9, 3, cut=CUT)  # type: ignore[arg-type]
    network = Network.build(spec)
    rng = np.random.default_rng(5)
    head_layer = network.model.get_layer("head")
    kernel, bias = head_layer.get_weights()
    head_layer.set_weights([rng.normal(0, HEAD_SPREAD, kernel.shape).astype(np.float32), bias])
    train = root / "work" / "train" / ARCHITECTURE
    train.mkdir(parents=True)
    network.save(train)
    write_text(train / "history.csv", "look\n")  # a part of the stage's outs that serving does not need

    images = np.concatenate([prepare(head(seed), SIZE, windows) for seed in (3, 4, 5)])
    scores = network.probabilities(prepare(head(1), SIZE, windows))
    plain = Combiner("plain_mean", (ARCHITECTURE,), tuple((1.0,) for _ in labels.columns), None, (None,) * len(labels))
    reading = ReadingModel(plain, (Calibration("identity"),) * len(labels))
    # Below two scores of the first study: those slices and their neighbour are read again, the others are not.
    middle = OperatingPoint(float(np.quantile(scores[:, 0], 0.7)), 1.0, 0.5)
    points = {label: dict.fromkeys(NAMES, middle) for label in labels.columns}
    limits = {label: ConformalLabel(0.6, 0.4, 12, 12) for label in labels.columns}
    limits[labels.columns[-1]] = ConformalLabel(None, None, 12, 2, "validation has 2 patients with the finding")
    certain = Uncertainty(0.9, limits, limits, {ARCHITECTURE: reading.calibrations})
    ensemble = Ensemble(
        labels, {ARCHITECTURE: 0.3}, reading, reading, middle, points, points, "balanced", CaseScore("max", 3), certain
    )
    (root / "work" / "calibrate").mkdir()
    ensemble.save(root / "work" / "calibrate" / "ensemble.json")

    truth = np.zeros((len(images), len(labels.subtypes)), np.uint8)
    truth[np.arange(len(images)), np.arange(len(images)) % (len(labels.subtypes) - 1)] = 1  # the last has no positive
    names = [f"2.25.{n}" for n in range(len(images))]
    patients = [f"P{n // SLICES}" for n in range(len(images))]
    train = root / "work" / "train" / ARCHITECTURE
    save_atlas(labels, params.explain, train, images, truth, names, patients, patients, root / "work" / "atlas")
    (root / "work" / "precedent").mkdir()
    small_precedent(network).save(root / "work" / "precedent" / PRECEDENT)
    metrics = {
        test: {
            "slice": {
                "any": {"auc": {"value": 0.91, "low": 0.9, "high": 0.92}},
                "mean": {"ap": {"value": 0.5, "low": 0.4, "high": 0.6}},
            },
            "case": {"any": {"auc": {"value": None, "low": None, "high": None, "reason": "one class only"}}},
        }
        for test in params.tests
    }
    write_json(root / "reports" / "metrics.json", {"data": "synthetic", **metrics})
    said = cautions(metrics, params.tests, params.labels.any)
    write_json(root / "reports" / "headline.json", {"data": "synthetic", "cautions": said})
    for name in ("model_card.md", *PAPERS):
        write_text(root / "reports" / name, f"# {name}\n")
    write_learners(root, ("Philips", "SIEMENS"), "H31s", "folder")
    write_tests(root, params)
    write_validation(root, params)
    return root


def small_precedent(network: Network) -> Precedent:
    """What scans the small system learned from: eight heads of :func:`head`, and eight to choose the limit by."""
    from ich_pipeline.precedent.model import Seen, fit_precedent
    from ich_pipeline.precedent.nearest import layouts
    from ich_pipeline.precedent.scan_numbers import scan_numbers
    from ich_pipeline.precedent.scans import Scans
    from ich_pipeline.windowing.windows import clip_range, prepare

    ends = clip_range(network.spec.windows)

    def scans(seeds: range) -> Scans:
        hu = [prepare(head(seed), SIZE, network.spec.windows) for seed in seeds]
        slices = np.concatenate(hu)
        return Scans(
            numbers=np.stack([scan_numbers(case, *ends) for case in hu]),
            features=network.run_batched(network.pooled_features(), slices)[0],
            layouts=layouts(slices, ends[0]),
            case=np.repeat(np.arange(len(hu)), SLICES),
            owners=np.arange(len(hu)),
        )

    seen = Seen(ARCHITECTURE, SIZE, *ends, 3)
    return fit_precedent(seen, scans(range(1, 9)), scans(range(9, 17)), 0.1)


@pytest.fixture(scope="session")
def origin(work: Path) -> Origin:
    """Of the small system: patients of two scanners."""
    from ich_pipeline.serving.origin import find_origin

    made = work / "work"
    networks = [made / "train" / ARCHITECTURE / "network.json"]
    return find_origin(work / "data", made / "ingest", made / "split", networks)


@pytest.fixture(scope="session")
def synthetic_bundle(tmp_path_factory: pytest.TempPathFactory, bundle: Path, origin: Origin) -> Path:
    """The same system, had it been trained on the phantom."""
    from ich_pipeline.core.files import write_json
    from ich_pipeline.serving.content import seal

    target = tmp_path_factory.mktemp("synthetic") / "bundle"
    shutil.copytree(bundle, target)
    phantom = replace(origin, data="synthetic", cohort="phantom")
    write_json(target / "origin.json", phantom.to_json())
    seal(target)
    return target


def parts_of(made: Path) -> Parts:
    """Where the stages leave the parts of a bundle below ``work/``."""
    return Parts(
        train=made / "train",
        sequence=made / "sequence",
        rule=made / "baselines" / "hu_rule",
        ensemble=made / "calibrate" / "ensemble.json",
        atlas=made / "atlas",
        precedent=made / "precedent",
    )


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, work: Path, params: Params, origin: Origin) -> Path:
    """The assembled bundle."""
    from ich_pipeline.serving.bundle import assemble
    from ich_pipeline.watch.measurements import of_stages

    target = tmp_path_factory.mktemp("bundle") / "bundle"
    made = work / "work"
    reference = of_stages(made / "calibrate", made / "window", made / "ingest", made / "precedent").to_json()
    assemble(parts_of(made), params, origin, target, reference)
    return target


@contextlib.contextmanager
def own_store_in(folder: Path) -> Iterator[None]:
    """``folder`` is the current directory, and what the caller's environment names of MLflow and Prefect is unknown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "ICH_RUN_ID", "ICH_EVENTS", "PREFECT_API_URL"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, work: Path, params: Params) -> Iterator[Path]:
    """The current directory: an empty project with the made ``work/`` and ``reports/``; its store is made on first use."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(work, folder, dirs_exist_ok=True)
    settings = params.model_dump(mode="json", by_alias=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    with own_store_in(folder):
        yield folder


@pytest.fixture(scope="module")
def registered(project: Path, bundle: Path, params: Params) -> int:
    """The small system as version 1, with scores of a test that reach the floors of the gate."""
    from ich_pipeline.registry.register import register
    from ich_pipeline.serving.content import content_of
    from tests.made.gate_cases import good_scores

    scores = [good_scores()]
    number, new = register(bundle, content_of(bundle), params, {"test auc": 0.9}, "# Card", scores=scores)
    assert (number, new) == (1, True)
    return number


def with_member(ensemble: Ensemble, member: str) -> Ensemble:
    """The small system's ensemble as the mean of its network and one more member, which is read without interpolation."""
    from ich_pipeline.ensemble.model import ReadingModel

    members = (ARCHITECTURE, member)
    weights = ((0.5, 0.5),) * len(ensemble.labels)
    mean = replace(ensemble.first_reading.combiner, members=members, weights=weights)
    reading = ReadingModel(mean, ensemble.first_reading.calibrations)
    assert ensemble.uncertainty is not None
    calibrations = dict.fromkeys(members, ensemble.uncertainty.networks[ARCHITECTURE])
    return replace(
        ensemble,
        degrees={ARCHITECTURE: 0.3, member: 0.0},
        first_reading=reading,
        second_reading=reading,
        uncertainty=replace(ensemble.uncertainty, networks=calibrations),
    )


def both_studies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Neighbours (2 n, 2) and case (2 n,) of the slices of both studies, one after the other."""
    k = np.arange(2 * SLICES)
    before = np.where(k % SLICES > 0, k - 1, -1)
    after = np.where(k % SLICES < SLICES - 1, k + 1, -1)
    return np.stack([before, after], axis=1), k // SLICES
