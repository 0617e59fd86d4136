"""``params.yaml`` as strict pydantic models: an unknown key or a wrong type is an error that names it.

Profiles (``ich_pipeline/profiles/*.yaml``) are complete parameter files; switching copies one over ``params.yaml``. They
change values, never code paths. Every setting that the paper's available text does not fix is here, never a silent
constant.
"""

from __future__ import annotations

import json
import re
import zoneinfo
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ich_pipeline.cohort_names import TESTS
from ich_pipeline.config_errors import UniqueKeys, sentence
from ich_pipeline.errors import InputError
from ich_pipeline.labels import Labels

_EFFICIENTNET = re.compile(r"efficientnet_?b_?\d")  # B0 to B7, of the first version
Fraction = Annotated[float, Field(gt=0, lt=1)]
MEAN = "mean"  # beside the labels in metrics.json
# Columns beside the labels' own in tables of predictions.
TAKEN = ("degree", "case_id", "patient_key", "decision", "slices", "reread", "page", "reason", "caution")
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Section(BaseModel):
    """Base of every section: no unknown keys, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _rising(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] >= values[1]:
        raise ValueError(f"the first value must be the smaller one, found {values[0]:g} and {values[1]:g}")
    return values


Range = Annotated[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_rising)]


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
    """The synthetic cohort (:mod:`ich_pipeline.cohorts.phantom`)."""

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
    """Folds over the patients of train and validation, where they are few (:mod:`ich_pipeline.folds`)."""

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


class WindowSpec(Section):
    """One CT window: WindowCenter and WindowWidth in HU, and the VOI LUT Function of DICOM PS3.3 C.11.2.1."""

    name: Name
    center: float
    width: Annotated[float, Field(gt=1)]
    # A default here and below, because registered models carry this section: one from before the setting still reads.
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR_EXACT"


class WindowingParams(Section):
    """The windows make the channels; ``single`` names the one that the ablation uses alone.

    Three windows are the backbone's three channels as they are. Any other number is mixed into three by a small
    trained layer.

    ``field_of_view_mm`` brings every picture to true scale: the square of that side in mm about the head is resized to the
    network's size, so that a millimetre is as many pixels in every patient, whatever the scanner's field of view. It trusts
    PixelSpacing.

    ``sizes`` are the picture sizes (pixels) that the window stage prepares; each network's ``image_size`` is one of them.
    They are named here as well, so that a network's other settings do not concern that stage.
    """

    windows: Annotated[tuple[WindowSpec, ...], Field(min_length=1, max_length=32)]
    single: Name
    trainable: bool = False  # centre and width of every window are weights of the first layer, which begin at these
    remove_bed: bool = False  # what is not joined to the head becomes air
    crop_head: bool = False  # to the square around the head, once a series
    field_of_view_mm: Annotated[float, Field(ge=100, le=500)] | None = None  # null: what the scanner chose
    sizes: Annotated[tuple[Annotated[int, Field(ge=32, le=1024)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _single_is_known(self) -> WindowingParams:
        names = [w.name for w in self.windows]
        if len(set(names)) != len(names):
            raise ValueError(f"window names must differ, found {', '.join(names)}")
        if self.single not in names:
            raise ValueError(f"single window {self.single!r} is none of {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _one_scale(self) -> WindowingParams:
        if self.crop_head and self.field_of_view_mm is not None:
            raise ValueError(
                f"crop_head fits every head to the picture, but field_of_view_mm {self.field_of_view_mm:g} keeps its true size: "
                "set crop_head: false, or field_of_view_mm: null"
            )
        return self


class NetworkParams(Section):
    """What one architecture needs of its own."""

    image_size: Annotated[int, Field(ge=32, le=1024)]
    epochs: Annotated[float, Field(gt=0)]  # passes, see training.negatives_per_positive; a fraction is allowed
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    # none | imagenet | phantom (what stage pretrain learnt on synthetic heads) | path of a notop .weights.h5 or .h5, or of a
    # whole Keras model (.keras), which is then the backbone itself
    weights: str
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None  # what that file must be; null: any
    # Lower layers of a pretrained backbone that never learn: a share of its layers, or the name of the last frozen one.
    # With weights "none" it is read as 0: random layers that never learn teach nothing.
    frozen_layers: Annotated[float, Field(ge=0, le=1)] | Annotated[str, Field(min_length=1)] = 0.0
    frozen_epochs: Annotated[float, Field(ge=0)] = 0.0  # first passes, in which only the head learns
    # The last layer that is used; what lies above it is left out. null: all of the network. A cut network sees small
    # structures at a fine stride, and few data bear few layers.
    cut: Annotated[str, Field(min_length=1)] | None = None
    # Layers whose outputs are pooled for the head, beside the last one, which always is.
    also_pooled: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    # How each map becomes numbers: its mean, and the mean of its largest values, given as their share of the picture.
    pooling: Annotated[tuple[Literal["mean"] | Fraction, ...], Field(min_length=1)] = ("mean",)
    input_range: tuple[float, float] | None = None  # of a .keras model: what black and white of a window are to it

    @property
    def is_frozen(self) -> bool:
        """Whether nothing but the head learns: its features are then computed once a slice."""
        return self.frozen_layers == 1.0

    @model_validator(mode="after")
    def _whole_models_say_their_input(self) -> NetworkParams:
        if self.weights.endswith(".keras") and self.input_range is None:
            raise ValueError("weights is a whole Keras model, so input_range must say what it reads, such as [0, 1]")
        if self.input_range is not None and not self.weights.endswith(".keras"):
            raise ValueError("input_range is of a .keras model alone; keras.applications has its own preprocessing")
        return self

    @model_validator(mode="after")
    def _poolings_differ(self) -> NetworkParams:
        for field in ("pooling", "also_pooled"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field} names one twice: {', '.join(map(str, values))}")
        return self

    @model_validator(mode="after")
    def _only_what_was_learnt_is_frozen(self) -> NetworkParams:
        if self.weights == "none":
            object.__setattr__(self, "frozen_layers", 0.0)  # so a profile may say what is frozen once there are weights
            if self.frozen_epochs > 0:
                raise ValueError("frozen_epochs is for pretrained weights, but weights is none: set it to 0")
        if self.weights in ("none", "imagenet", "phantom") and self.weights_sha256:
            raise ValueError(f"weights_sha256 is of a file, but weights is {self.weights}: set it to null")
        if 0 < self.epochs <= self.frozen_epochs:
            raise ValueError(
                f"frozen_epochs {self.frozen_epochs:g} leaves none of {self.epochs:g} epochs for the backbone"
            )
        return self


class AugmentationParams(Section):
    """Ranges of the random affine; drawn for each image and step."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, lt=0.5)]  # fraction of the picture
    zoom: Annotated[float, Field(ge=0, lt=0.5)]
    shear_deg: Annotated[float, Field(ge=0, lt=45)]
    horizontal_flip: bool


class TrainingParams(Section):
    """What all trainings share."""

    optimizer: Literal["nesterov", "adam", "adamw"]
    momentum: Annotated[float, Field(ge=0, lt=1)]  # nesterov only
    weight_decay: Annotated[float, Field(ge=0)]  # adamw only
    schedule: Literal["cosine", "step", "constant"]
    # step only: from this share of the training on, this factor of the learning rate
    step_decay: tuple[tuple[Fraction, Annotated[float, Field(gt=0, le=1)]], ...]
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)]
    gradient_clip_norm: Annotated[float, Field(gt=0)]
    class_weight_cap: Annotated[float, Field(ge=1)]
    negatives_per_positive: Annotated[float, Field(gt=0)] | None  # negative slices drawn a pass; null: all slices
    batch_norm_momentum: Annotated[float, Field(gt=0, lt=1)]
    batch_norm_batches: Annotated[int, Field(ge=0)]  # training batches that re-estimate its statistics before a look
    dtype: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    jit_compile: bool  # XLA
    accumulate: Annotated[int, Field(ge=1)]  # parts of a batch that pass one after another, for a small GPU
    gpus: Literal["one", "all"]  # all: every GPU of this machine takes its share of each batch
    checkpoint_minutes: Annotated[float, Field(ge=0)]  # between two states to resume from
    validations: Annotated[int, Field(ge=1)]  # looks at the validation set, evenly over the training
    patience: Annotated[int, Field(ge=1)]  # looks without a better validation mAP before stopping
    augmentation: AugmentationParams

    @model_validator(mode="after")
    def _steps_rise(self) -> TrainingParams:
        shares = [share for share, _ in self.step_decay]
        if self.schedule == "step" and not shares:
            raise ValueError("schedule is step, but step_decay names no step: name one, or set schedule: constant")
        if shares != sorted(set(shares)):
            raise ValueError(f"step_decay must rise, found the shares {', '.join(f'{s:g}' for s in shares)}")
        return self

    @model_validator(mode="after")
    def _decay_has_its_optimizer(self) -> TrainingParams:
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay {self.weight_decay:g} counts with the optimizer adamw alone, found {self.optimizer}: set "
                "optimizer: adamw, or weight_decay: 0"
            )
        return self


class PretrainParams(Section):
    """Synthetic heads on which networks with ``weights: phantom`` learn before they see a patient."""

    patients: Annotated[int, Field(ge=20)]
    slices: Annotated[int, Field(ge=4, le=64)]  # a patient
    positive_fraction: Fraction  # share of patients with any haemorrhage
    faint_fraction: Annotated[float, Field(ge=0, le=1)]  # share of lesions made faint or small
    variation: Annotated[float, Field(ge=0, le=1)]  # 0: heads as `ich cohort phantom` draws them; 1: as varied as drawn
    validation_patients: Annotated[int, Field(ge=4)]  # of them, to see how far the network came
    epochs: Annotated[float, Field(gt=0)]  # passes, see training.negatives_per_positive
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    # The last layer that learns on synthetic heads. A network may then use less of it (networks.<name>.cut): shallow layers
    # carry over to patients, deep ones know the drawing. A network that is not named here learns whole.
    cuts: dict[Name, Annotated[str, Field(min_length=1)]]
    seed: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _some_are_left_to_learn(self) -> PretrainParams:
        if self.validation_patients > self.patients // 2:
            raise ValueError(
                f"validation_patients {self.validation_patients} is more than half of patients {self.patients}: lower it"
            )
        return self


class HeadParams(Section):
    """The head of a network whose layers are all frozen: fitted to its optimum, on features computed once."""

    # Candidates of the L2 penalty on standardised features, falling; cross-validation chooses.
    penalties: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    mirrored: bool  # also learn from every slice mirrored left to right

    @field_validator("penalties")
    @classmethod
    def _fall(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value), reverse=True):
            raise ValueError(f"penalties must fall, found {', '.join(f'{v:g}' for v in value)}")
        return value


class InterpolationParams(Section):
    """Slice interpolation: candidate degrees, of which calibrate chooses one a model; 0 is "none"."""

    candidates: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_none(self) -> InterpolationParams:
        if self.candidates[0] != 0 or list(self.candidates) != sorted(set(self.candidates)):
            raise ValueError("candidates must rise and begin with 0 (no interpolation)")
        return self


class SequenceParams(Section):
    """The optional head over a case's slices (:mod:`ich_pipeline.sequence`), on a network's frozen features."""

    architectures: tuple[Name, ...]  # networks that get one; none: off
    units: Annotated[int, Field(ge=1)]  # of the projection, and of the recurrent layer each way
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)]  # of Adam
    batch_cases: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]  # passes over the training cases, at most
    patience: Annotated[int, Field(ge=1)]  # epochs without a better validation mAP before stopping


class BaselineParams(Section):
    """Readers without a trained network, for comparison (:mod:`ich_pipeline.baselines`)."""

    maximum_slices: Annotated[int, Field(ge=10)]  # to train on; of more, positive ones first and every patient alike
    trees: Annotated[int, Field(ge=1)]  # of each label's forest
    # The same head on this network with random weights, cut and pooled as it is. null: without this baseline.
    random_network: Name | None


def _all_rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError(f"the values must rise, found {', '.join(f'{v:g}' for v in values)}")
    return values


class PrecedentParams(Section):
    """The verdict *not read* for scans that are unlike those of training (:mod:`ich_pipeline.precedent`)."""

    false_alarms: Fraction  # of scans of the training kind that are turned away
    neighbours: Annotated[int, Field(ge=1)]  # nearest training slices that a distance is the mean over
    maximum_cases: Annotated[int, Field(ge=10)]  # described, of the training cases; as many are held out at most


class EnsembleParams(Section):
    """Combination, calibration, operating points, case score."""

    folds: Annotated[int, Field(ge=2)]  # cross-fitting folds over validation patients
    sensitivity_target: Fraction
    specificity_target: Fraction
    # The rule from slices to a case; auto: of all rules the one that ranks the cases best, where it is clearly better
    # than max (:mod:`ich_pipeline.ensemble.case_rule`).
    case_score: Literal["auto", "max", "top_k_mean", "neighbours", "noisy_or"]
    case_top_k: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), AfterValidator(_all_rising)]
    decision: Literal["high_sensitivity", "balanced", "high_specificity"]  # the operating point of the case decision
    coverage: Fraction  # of the conformal sets, of patients with and of patients without a finding
    # The HU rule (:mod:`ich_pipeline.baselines.hu_rule`) is a member beside the networks. Not part of the paper.
    hu_rule: bool


Edges = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), AfterValidator(_all_rising)]


class SubgroupParams(Section):
    """Bands of the case subgroups, by their edges; fixed before a test is read."""

    minimum_patients: Annotated[int, Field(ge=2)]  # positive and negative ones; with fewer a figure is null
    age_years: Edges
    thickness_mm: Edges
    lesion_ml: Edges


class EvaluationParams(Section):
    """Intervals (percentile bootstrap by patient), the comparison with readers, subgroups."""

    bootstrap: Annotated[int, Field(ge=10)]
    confidence: Fraction
    noninferiority_margin: Fraction  # of sensitivity and specificity, against each reader of data/readers.csv
    subgroups: SubgroupParams


class ExplainParams(Section):
    """Attention maps, atlas and prediction basis."""

    architecture: str  # the network whose features and maps are shown
    method: Literal["auto", "cam", "layercam"]  # auto: CAM where its map is at least minimum_map wide, else LayerCAM
    minimum_map: Annotated[int, Field(ge=2)]
    maps: Literal[
        "any", "subtypes"
    ]  # whose maps are drawn; "subtypes" only where the control of the report shows them specific
    region_fraction: Fraction  # of the map's maximum
    hit_tolerance_mm: Annotated[float, Field(ge=0)]  # a maximum this near to a lesion hits it
    findings_shown: Annotated[int, Field(ge=1)]  # with reasons, a slice
    single_finding_minimum: Annotated[
        int, Field(ge=1)
    ]  # so many slices of one finding alone, and only they stand for it
    atlas_per_label: Annotated[int, Field(ge=1)]
    atlas_per_patient: Annotated[int, Field(ge=1)]
    classic_features: Annotated[int, Field(ge=1)]  # features a subtype
    near_duplicate: Annotated[float, Field(ge=0)]  # L2 distance below which two examples are near-equal
    basis_neighbours: Annotated[int, Field(ge=1)]
    basis_pool: Literal["atlas", "training"]


class ReportParams(Section):
    """What the report shows."""

    case_pages: Annotated[int, Field(ge=1)]  # a test cohort
    attention_examples: Annotated[int, Field(ge=1)]  # a subtype


class RegistryParams(Section):
    """MLflow registry."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class RetrainParams(Section):
    """Scheduled retraining."""

    cron: str
    timezone: str

    @model_validator(mode="after")
    def _schedulable(self) -> RetrainParams:
        if len(self.cron.split()) != 5:
            raise ValueError(f"cron needs five fields (minute hour day month weekday), found {self.cron!r}")
        if self.timezone not in zoneinfo.available_timezones():
            raise ValueError(f"timezone {self.timezone!r} is not known; take a name like Europe/Berlin or UTC")
        return self


class Params(Section):
    """All of ``params.yaml``."""

    profile: Name
    seed: Annotated[int, Field(ge=0)]
    labels: LabelParams
    phantom: PhantomParams
    ingest: IngestParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    split: SplitParams
    windowing: WindowingParams
    architectures: Annotated[tuple[Name, ...], Field(min_length=1)]
    networks: dict[Name, NetworkParams]
    training: TrainingParams
    pretrain: PretrainParams
    head: HeadParams
    interpolation: InterpolationParams
    sequence: SequenceParams
    baselines: BaselineParams
    ablation: Annotated[tuple[Name, ...], Field(min_length=1)]
    ensemble: EnsembleParams
    precedent: PrecedentParams
    tests: Annotated[tuple[Name, ...], Field(min_length=1)]
    evaluation: EvaluationParams
    explain: ExplainParams
    report: ReportParams
    registry: RegistryParams
    retrain: RetrainParams

    @model_validator(mode="after")
    def _networks_are_described(self) -> Params:
        named = {field: getattr(self, field) for field in ("architectures", "ablation", "tests")}
        for field, names in {**named, "sequence.architectures": self.sequence.architectures}.items():
            if len(set(names)) != len(names):
                raise ValueError(f"{field} names one twice: {', '.join(names)}")
        plain = [name.replace("_", "") for name in self.architectures]  # vgg_16 is the same network as vgg16
        if len(set(plain)) != len(plain):
            raise ValueError(f"architectures names one twice, written in two ways: {', '.join(self.architectures)}")
        for name in self.tests:
            if name not in TESTS:
                raise ValueError(f"tests names {name!r}, which is no test cohort; there are {' and '.join(TESTS)}")
        for name in self.architectures:
            if name not in self.networks:
                raise ValueError(f"architectures names {name!r}, but networks.{name} is missing")
            if _EFFICIENTNET.fullmatch(name) and self.networks[name].weights not in ("none", "phantom"):
                raise ValueError(
                    f"networks.{name}.weights is {self.networks[name].weights}, but Keras scales the input of this network in "
                    "another way where it downloads the weights itself: take efficientnet_v2b0 to b3, or weights: none"
                )
            size = self.networks[name].image_size
            if size not in self.windowing.sizes:
                raise ValueError(f"networks.{name}.image_size {size} is none of windowing.sizes: add it there")
            batch = self.networks[name].batch_size
            if batch % self.training.accumulate:
                raise ValueError(
                    f"networks.{name}.batch_size {batch} is no multiple of training.accumulate {self.training.accumulate}"
                )
        for name in (*self.ablation, self.explain.architecture):
            if name not in self.architectures:
                raise ValueError(f"ablation or explain names {name!r}, which is none of architectures")
        if self.baselines.random_network not in (None, *self.architectures):
            raise ValueError(
                f"baselines.random_network names {self.baselines.random_network!r}, which is none of architectures"
            )
        for name in self.sequence.architectures:
            if name not in self.architectures:
                raise ValueError(f"sequence.architectures names {name!r}, which is none of architectures")
        return self

    @property
    def label_set(self) -> Labels:
        """The labels as the rest of the package uses them."""
        return Labels(self.labels.any, self.labels.subtypes)


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check a parameter file.

    Raises:
        InputError: one sentence with the file, the key, the value and what to do.
    """
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8"), UniqueKeys)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run from the project's top folder, or `ich profile phantom`.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as such.") from None
    except yaml.YAMLError as error:
        where = " ".join(str(error).split()).replace('in "<unicode string>", ', "")
        raise InputError(f"{path} is not YAML ({where}): mend that line.") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds no settings: copy a profile over it with `ich profile phantom`.")
    try:
        return Params.model_validate_json(json.dumps({str(key): value for key, value in raw.items()}, default=str))
    except ValidationError as error:
        raise InputError(sentence(Path(path), Params, error)) from None
