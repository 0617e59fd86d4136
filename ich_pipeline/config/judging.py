"""Settings of answers and their keeping: ensemble, precedent, evaluation, reasons, report, registry, gate, watch, retraining."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ich_pipeline.config.section import Fraction, Section, all_rising


class EnsembleParams(Section):
    """Combination, calibration, operating points, case score."""

    folds: Annotated[int, Field(ge=2)]  # cross-fitting folds over validation patients
    sensitivity_target: Fraction
    specificity_target: Fraction
    # The rule from slices to a case; auto: of all rules the one that ranks the cases best, where it is clearly better
    # than max (:mod:`ich_pipeline.ensemble.case_rule`).
    case_score: Literal["auto", "max", "top_k_mean", "neighbours", "noisy_or"]
    case_top_k: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), AfterValidator(all_rising)]
    decision: Literal["high_sensitivity", "balanced", "high_specificity"]  # the operating point of the case decision
    coverage: Fraction  # of the conformal sets, of patients with and of patients without a finding
    # The HU rule (:mod:`ich_pipeline.baselines.hu_rule`) is a member beside the networks. Not part of the paper.
    hu_rule: bool


class PrecedentParams(Section):
    """The verdict *not read* for scans that are unlike those of training (:mod:`ich_pipeline.precedent`)."""

    false_alarms: Fraction  # of scans of the training kind that are turned away
    neighbours: Annotated[int, Field(ge=1)]  # nearest training slices that a distance is the mean over
    maximum_cases: Annotated[int, Field(ge=10)]  # described, of the training cases; as many are held out at most


Edges = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), AfterValidator(all_rising)]


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
    # What makes a map. auto: what points best on validation, where that has masks; else CAM where its map is at least
    # minimum_map wide, else LayerCAM.
    method: Literal["auto", "cam", "layercam", "gradcam", "hirescam", "ablationcam"]
    minimum_map: Annotated[int, Field(ge=2)]
    # Whose activation is shown, by its name in Keras; null: the deepest with a map of minimum_map. A default, since
    # models of before have none.
    layer: str | None = None
    # Whose maps are drawn: one of "any", or each finding's own. auto: its own where on validation these hit the own lesion
    # more often than another finding's, beyond the intervals; else, and where validation has no masks, the one of "any".
    maps: Literal["auto", "any", "subtypes"]
    # Of the map's maximum: where its outline is drawn, where validation has no masks. Where it has, the share with the
    # highest Dice is taken.
    region_fraction: Fraction
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


Link = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=128)]


class ReportLinks(Section):
    """Where others find the model and the data: for the ATLAS cards, which say that the authors must state it otherwise."""

    model: Link | None = None
    dataset: Link | None = None


class ReportParams(Section):
    """What the report shows."""

    case_pages: Annotated[int, Field(ge=1)]  # a test cohort
    attention_examples: Annotated[int, Field(ge=1)]  # a subtype
    links: ReportLinks = ReportLinks()  # a default, since parameter files of before lack it


class RegistryParams(Section):
    """MLflow registry."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class GateMargins(Section):
    """By how much a challenger may fall behind the champion at most and still be *not worse*."""

    auc: Fraction = 0.03  # of cases, for "any"
    brier: Fraction = 0.01  # of slices
    ece: Fraction = 0.02


class GateFloors(Section):
    """What the first model has to reach, with the lower ends of its intervals."""

    auc: Fraction = 0.8  # of cases, for "any"
    sensitivity: Fraction = 0.7  # of the case decision
    specificity: Fraction = 0.7


class GateSubgroups(Section):
    """What every version has to reach in each subgroup that can be judged."""

    auc: Fraction = 0.7
    minimum_patients: Annotated[int, Field(ge=2)] = (
        10  # positive and negative ones; with fewer a subgroup is not judged
    )


class GateParams(Section):
    """A challenger against the champion (:mod:`ich_pipeline.gate`); fixed before a challenger is made."""

    # The test that decides. One, or of two chances the better would be taken.
    test: Literal["test_retrospective", "test_prospective"] = "test_prospective"
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05  # one-sided: how often a verdict may be wrong
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    minimum_patients: Annotated[int, Field(ge=2)] = 20  # positive and negative ones; with fewer nothing is decided
    margins: GateMargins = GateMargins()
    floors: GateFloors = GateFloors()
    subgroups: GateSubgroups = GateSubgroups()


class NextTestParams(Section):
    """The next prospective test (:mod:`ich_pipeline.splits.frozen`); read once, when the tests are frozen."""

    patients: Annotated[int, Field(ge=2)] = 100  # it opens with so many
    share: Annotated[float, Field(gt=0, le=1)] = 0.5  # of the new patients who wait for it; the others learn


class IncomingParams(Section):
    """Where new data arrive: looked at whenever the schedule fires."""

    source: str  # a folder, or s3://bucket/prefix
    labels: str  # its plain label table
    quiet_minutes: Annotated[float, Field(ge=0)] = 30  # since the newest file of a folder: before that more may come


def _five_fields(cron: str) -> str:
    if len(cron.split()) != 5:
        raise ValueError(f"cron needs five fields (minute hour day month weekday), found {cron!r}")
    return cron


Cron = Annotated[str, AfterValidator(_five_fields)]


class WatchParams(Section):
    """The watch over what is served (:mod:`ich_pipeline.watch`).

    Defaults, since parameter files of before have no such section.
    """

    record: bool = True  # keep a line of each served case
    cron: Cron = "0 5 * * *"  # of the scheduled look, in the timezone of ``retrain``
    # Cases that are compared at a time: the last complete so many. Each size is looked at once in so many cases.
    windows: Annotated[
        tuple[Annotated[int, Field(ge=20)], ...], Field(min_length=1), AfterValidator(all_rising)
    ] = (25, 100, 400)  # fmt: skip
    cases_a_year: Annotated[int, Field(ge=1)] = 5000  # that are served at most
    false_alarms_a_year: Annotated[float, Field(gt=0)] = 1.0


class RetrainParams(Section):
    """Scheduled retraining, and what a test must bear over years."""

    cron: Cron
    timezone: str
    # Defaults, since parameter files of before have none.
    minimum_new_patients: Annotated[int, Field(ge=0)] = 0  # with fewer the scheduled retraining is skipped
    looks: Annotated[int, Field(ge=1)] = 20  # at a test, after which it is called no longer new
    next_test: NextTestParams = NextTestParams()
    incoming: IncomingParams | None = None

    @model_validator(mode="after")
    def _schedulable(self) -> RetrainParams:
        if self.timezone not in zoneinfo.available_timezones():
            raise ValueError(f"timezone {self.timezone!r} is not known; take a name like Europe/Berlin or UTC")
        return self
