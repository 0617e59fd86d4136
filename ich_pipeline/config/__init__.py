"""``params.yaml`` as strict pydantic models: an unknown key or a wrong type is an error that names it.

Profiles (``ich_pipeline/profiles/*.yaml``) are complete parameter files; switching copies one over ``params.yaml``. They
change values, never code paths. Every setting that the paper's available text does not fix is here, never a silent
constant.
"""

from ich_pipeline.config.cohort import (
    MEAN,
    TAKEN,
    ArchiveParams,
    IngestParams,
    LabelParams,
    PhantomParams,
    PixelParams,
    PlausibleParams,
    SplitFoldsParams,
    SplitParams,
    TestCohortParams,
    ValidateParams,
)
from ich_pipeline.config.judging import (
    Edges,
    EnsembleParams,
    EvaluationParams,
    ExplainParams,
    GateParams,
    IncomingParams,
    NextTestParams,
    PrecedentParams,
    RegistryParams,
    ReportParams,
    RetrainParams,
    SubgroupParams,
    WatchParams,
)
from ich_pipeline.config.learning import (
    AugmentationParams,
    BaselineParams,
    HeadParams,
    InterpolationParams,
    NetworkParams,
    PretrainParams,
    SequenceParams,
    TrainingParams,
    WindowingParams,
    WindowSpec,
)
from ich_pipeline.config.params import Params, load_params
from ich_pipeline.config.section import Fraction, Name, Range, Section

__all__ = [
    "MEAN",
    "TAKEN",
    "ArchiveParams",
    "AugmentationParams",
    "BaselineParams",
    "Edges",
    "EnsembleParams",
    "EvaluationParams",
    "ExplainParams",
    "Fraction",
    "GateParams",
    "HeadParams",
    "IncomingParams",
    "IngestParams",
    "InterpolationParams",
    "LabelParams",
    "Name",
    "NetworkParams",
    "NextTestParams",
    "Params",
    "PhantomParams",
    "PixelParams",
    "PlausibleParams",
    "PrecedentParams",
    "PretrainParams",
    "Range",
    "RegistryParams",
    "ReportParams",
    "RetrainParams",
    "Section",
    "SequenceParams",
    "SplitFoldsParams",
    "SplitParams",
    "SubgroupParams",
    "TestCohortParams",
    "TrainingParams",
    "ValidateParams",
    "WatchParams",
    "WindowSpec",
    "WindowingParams",
    "load_params",
]
