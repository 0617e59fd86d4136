"""Settings of the data: labels, the synthetic cohort, ingest, validation, cohorts."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from ich_pipeline.config.section import Fraction, Name, Range, Section, _rising

MEAN = "mean"  # beside the labels in metrics.json


# Columns beside the labels' own in tables of predictions.
TAKEN = ("degree", "case_id", "patient_key", "decision", "slices", "reread", "page", "reason", "caution")


class LabelParams(Section):
    """Names of the findings, in column order."""

    any: Name
    subtypes: Annotated[tuple[Name, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> LabelParams:
        names = (self.any, *self.subtypes)
        if len(set(names)) != len(names):
            raise ValueError(f"label names must differ, found {', '.join(names)}")
        if MEAN in names:
            raise ValueError(f"{MEAN!r} is the name of the subtypes' mean in the metrics: choose another label name")
        if taken := [name for name in names if name in TAKEN]:
            raise ValueError(f"{taken[0]!r} is a column of the prediction tables: choose another label name")
        return self


class PhantomParams(Section):
    """The synthetic cohort (:mod:`ich_pipeline.phantom`)."""

    patients: Annotated[int, Field(ge=4)]
    slices: Annotated[int, Field(ge=4, le=64)]  # axial slices of the main series
    size: Annotated[int, Field(ge=64, le=512)]  # rows and columns
    positive_fraction: Fraction  # share of patients with any haemorrhage
    faint_fraction: Annotated[float, Field(ge=0, le=1)]  # share of lesions made faint or small
    second_series_fraction: Annotated[float, Field(ge=0, le=1)]  # patients with a second (bone) series
    first_date: date  # StudyDate of the first patient; one patient a day at most
    seed: Annotated[int, Field(ge=0)]


class PlausibleParams(Section):
    """What a series in Hounsfield units shows of a head; one that shows less is set aside with the evidence."""

    air_below_hu: float  # a pixel at or below it is air
    minimum_air: Annotated[float, Field(ge=0, lt=1)]  # share of all pixels
    soft_tissue_hu: Annotated[tuple[float, float], AfterValidator(_rising)]
    minimum_soft_tissue: Annotated[float, Field(ge=0, lt=1)]  # share of the pixels that are not air


class PixelParams(Section):
    """Limits while files are read and decoded, and what their values must look like."""

    seconds_per_file: Annotated[float, Field(gt=0)]  # a header or a slice that takes longer is rejected
    inflated_mib: Annotated[int, Field(ge=1)]  # a deflated file that unpacks to more is rejected
    volume_mib: Annotated[int, Field(ge=1)] = (
        2048  # a series whose volume would take more is rejected: 4,096 slices of 512 x 512
    )
    plausible: PlausibleParams
    # Of ingest.contrast_share: contrast agent is suspected as well where three quarters of the slices show this much of it.
    contrast_quartile: Annotated[float, Field(gt=0, le=1)] = 0.15


class ArchiveParams(Section):
    """How far archives in a source may expand; what goes beyond is rejected as ``archive_bomb``."""

    expanded_gib: Annotated[float, Field(gt=0)]  # of all members together
    ratio: Annotated[float, Field(ge=10)]  # expanded bytes to bytes of one archive; a run may go 256 MiB beyond
    members: Annotated[int, Field(ge=1)]  # of all archives together
    depth: Annotated[int, Field(ge=1, le=16)]  # archives within archives; 1 = none within another


class IngestParams(Section):
    """What the ingest accepts and how it chooses one series a study."""

    workers: Annotated[int, Field(ge=0)]  # processes; 0 = one a core
    minimum_slices: Annotated[int, Field(ge=1)]
    slice_thickness_mm: Range
    spacing_tolerance: Annotated[float, Field(gt=0, lt=1)]  # relative; a step beyond it is a gap
    pixels: PixelParams
    archives: ArchiveParams
    minimum_coverage_mm: Annotated[float, Field(ge=0)]  # a series that covers less of the head is set aside
    # In order of preference: the classes `soft` and `unknown`, or ConvolutionKernel with * and ? (`H31*`). What no entry
    # matches comes last; sharp kernels are set aside before.
    kernel_preference: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    preferred_thickness_mm: Annotated[float, Field(gt=0)]  # of copies that cover the same, the nearest is chosen
    correct_tilt: bool  # shear the volume of a tilted gantry back, by shifts within each slice
    # Share of the brain that is brighter than blood from which contrast agent is suspected, in half of the slices; in three
    # quarters of them see pixels.contrast_quartile.
    contrast_share: Annotated[float, Field(gt=0, lt=1)]

    @field_validator("kernel_preference")
    @classmethod
    def _no_bone(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "bone" in value:
            raise ValueError("kernel_preference names bone: sharp kernels are always set aside; take it out")
        return value


class ValidateParams(Section):
    """Thresholds of the Great Expectations suites."""

    pixel_spacing_mm: Range
    minimum_hu_range: float  # a slice whose HU span is smaller shows no head
    air_hu: float  # a series whose lowest voxel is above it shows no air: its rescale is in doubt
    air_share: Range  # of a series' voxels that are air (up to −900 HU)
    soft_share: Range  # of a series' voxels between 0 and 100 HU: brain, blood, muscle
    tolerated_share: Annotated[
        float, Field(ge=0, lt=1)
    ]  # of rows that may breach a soft rule: a warning, beyond it an error
    label_coverage: Annotated[float, Field(ge=0, le=1)]  # share of slices that must carry labels
    prevalence: Range  # allowed share of slices with any finding
    prevalence_ratio: Annotated[float, Field(gt=1)]  # prospective against train, either way, before a warning


class TestCohortParams(Section):
    """One test cohort: its share of all patients; ``positive_fraction`` null keeps the natural prevalence."""

    patients: Fraction
    positive_fraction: Fraction | None


class SplitFoldsParams(Section):
    """Folds over the patients of train and validation, where they are few (:mod:`ich_pipeline.splits.folds`)."""

    count: Annotated[int, Field(ge=2)]
    below_patients: Annotated[
        int, Field(ge=0)
    ]  # with so many patients of train and validation there are none; 0: never


class SplitParams(Section):
    """Patient-level cohorts; shares are of all patients."""

    validation: Fraction
    retrospective: TestCohortParams  # drawn at random
    prospective: TestCohortParams  # the latest by StudyDate
    folds: SplitFoldsParams

    @model_validator(mode="after")
    def _room_for_training(self) -> SplitParams:
        used = self.validation + self.retrospective.patients + self.prospective.patients
        if used >= 0.9:
            raise ValueError(f"validation and tests take {used:.2f} of the patients, which leaves too few to train on")
        return self
