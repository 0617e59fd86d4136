"""Settings of pictures and of what learns from them: windows, networks, training, heads, sequence, baselines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ich_pipeline.config.section import Fraction, Name, Section


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
