"""The suites of the validate stage: series, slices, labels, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ich_pipeline.config import Params
from ich_pipeline.quality.checks import Check, Suite
from ich_pipeline.quality.label_suites import findings_suite, labels_suite
from ich_pipeline.quality.people import BIRTHS_APART_YEARS, Doubted, doubted_patients
from ich_pipeline.quality.twins import twin_pairs, twins_in_words
from ich_pipeline.series.cautions import UNREAD, UNREADABLE
from ich_pipeline.tables.label_tables import UID, Coverage

NO_NEIGHBOUR = -1
STEEPEST_TILT_DEG = 30.0  # the mechanical limit of common gantries; a warning only
KEY = r"^[CP][0-9a-f]{24}$"


def validate_suites(
    series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame, coverage: Coverage, params: Params
) -> tuple[Suite, ...]:
    """All suites of the validate stage.

    Args:
        series: the series table of ingest (schema ``series/3``), chosen or not.
        slices: the slice table of ingest (``slices/2``).
        table: the label table.
        coverage: what :func:`ich_pipeline.tables.label_tables.check_against` returned.
        params: thresholds (``validate``, ``ingest``) and label names.
    """
    labelled = slices.loc[:, ["case_id", "patient_key", "index", UID]].merge(table, on=UID, how="left", sort=False)
    return (
        series_suite(series, slices, params),
        slices_suite(slices, params),
        labels_suite(labelled, coverage, params),
        findings_suite(labelled, params.label_set),
    )


def soft(limit: float, check: Mapping[str, Any]) -> tuple[Check, Check]:
    """A rule that single rows may breach: beyond ``limit`` (a share) an error, below it a warning."""
    arguments = dict(check["arguments"])
    rest = {key: value for key, value in check.items() if key != "arguments"}
    name, threshold = rest.pop("name"), rest.pop("threshold")
    return (
        Check(
            name=f"{name}_mostly",
            threshold=f"{threshold}, for at least {1 - limit:.0%}",
            arguments={**arguments, "mostly": 1 - limit},
            **rest,
        ),
        Check(name=name, threshold=f"{threshold}, for all", arguments=arguments, severity="warning", **rest),
    )


def series_suite(series: pd.DataFrame, slices: pd.DataFrame, params: Params) -> Suite:
    """One row a chosen series; ``lowest_hu`` and ``rows_in_slice_table`` come from the slice table.

    ``patients_of_content`` counts the patients under whose name the very same voxels are: an archive that was pseudonymised
    twice would put one head into two cohorts, and no table of identifiers could tell. ``has_twin`` tells that of a head
    whose fingerprint is that of another patient's, ``doubted`` that one PatientID stands for several people.
    """
    by_volume = slices.groupby("volume", sort=False)
    chosen = series.loc[series["chosen"]].drop(columns=["hu_histogram", "fingerprint"]).copy()
    chosen["unread_elsewhere"] = chosen["reason"].str.contains(f"{UNREAD}|{UNREADABLE}")
    chosen["lowest_hu"] = chosen["volume"].map(by_volume["hu_min"].min()).astype(float)
    chosen["patients_of_content"] = chosen.groupby("content")["patient_key"].transform("nunique").astype(int)
    pairs, doubted = twin_pairs(series.loc[series["chosen"]]), doubted_patients(chosen)
    alike = {chosen["patient_key"].iloc[row] for pair in pairs for row in pair}
    chosen["has_twin"] = chosen["patient_key"].isin(alike)
    chosen["doubted"] = chosen["patient_key"].isin({one.patient_key for one in doubted})
    chosen["rows_in_slice_table"] = chosen["volume"].map(by_volume.size()).fillna(0).astype(int)
    limits = params.validate_
    spacing_low, spacing_high = limits.pixel_spacing_mm
    thin, thick = params.ingest.slice_thickness_mm
    (air_low, air_high), (soft_low, soft_high) = limits.air_share, limits.soft_share
    spacing = f"{spacing_low:g} to {spacing_high:g} mm"
    look = "look at these cases in work/ingest/series.parquet; a wrong header makes every length wrong."
    again = "run `dvc repro -f ingest`; if it comes back, report it: ingest promises this."
    checks = (
        Check(
            "any_series", "There is at least one series to work with", "ExpectTableRowCountToBeBetween", {"min_value": 1},
            "at least 1", "read work/ingest/account.csv: it says why each file was not used.", unit="series",
        ),
        Check(
            "one_series_a_study", "Every study has one chosen series", "ExpectColumnValuesToBeUnique",
            {"column": "StudyInstanceUID"}, "no study twice", again,
        ),
        Check(
            "series_once", "Every series appears once", "ExpectColumnValuesToBeUnique", {"column": "SeriesInstanceUID"},
            "no series twice", again,
        ),
        Check(
            "patient_known", "Every series belongs to a patient", "ExpectColumnValuesToMatchRegex",
            {"column": "patient_key", "regex": KEY}, "a patient key", "give these studies a PatientID: cohorts are split by patient.",
        ),
        Check(
            "study_date", "Every study has a StudyDate", "ExpectColumnValuesToMatchRegex",
            {"column": "StudyDate", "regex": r"^(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"}, "YYYYMMDD",
            "fill in StudyDate: the prospective cohort is the latest patients by date (shifted dates do, if shifted alike).",
        ),
        Check(
            "row_spacing", "Rows lie as far apart as head CT allows", "ExpectColumnValuesToBeBetween",
            {"column": "row_spacing_mm", "min_value": spacing_low, "max_value": spacing_high}, spacing, look, unit="mm",
        ),
        Check(
            "column_spacing", "Columns lie as far apart as head CT allows", "ExpectColumnValuesToBeBetween",
            {"column": "column_spacing_mm", "min_value": spacing_low, "max_value": spacing_high}, spacing, look, unit="mm",
        ),
        Check(
            "square_pixels", "Pixels are square", "ExpectColumnPairValuesToBeEqual",
            {"column_A": "row_spacing_mm", "column_B": "column_spacing_mm"}, "row spacing = column spacing",
            "heads of these cases look stretched to the networks.", severity="warning",
        ),
        Check(
            "square_matrix", "Slices have as many rows as columns", "ExpectColumnPairValuesToBeEqual",
            {"column_A": "Rows", "column_B": "Columns"}, "Rows = Columns",
            "the resize to a square stretches the heads of these cases.", severity="warning",
        ),
        Check(
            "slice_thickness", "SliceThickness is in the range that ingest accepts", "ExpectColumnValuesToBeBetween",
            {"column": "SliceThickness", "min_value": thin, "max_value": thick}, f"{thin:g} to {thick:g} mm", look, unit="mm",
        ),
        Check(
            "enough_slices", "A series has enough slices", "ExpectColumnValuesToBeBetween",
            {"column": "slices", "min_value": params.ingest.minimum_slices}, f"at least {params.ingest.minimum_slices}", again,
            unit="slices",
        ),
        Check(
            "slices_counted", "The slice table holds every slice of every series", "ExpectColumnPairValuesToBeEqual",
            {"column_A": "slices", "column_B": "rows_in_slice_table"}, "equal counts", again,
        ),
        Check(
            "one_patient_a_scan", "No scan is there under the names of two patients", "ExpectColumnValuesToBeInSet",
            {"column": "patients_of_content", "value_set": [1]}, "equal voxels, one patient",
            "remove one of each two, or give both one PatientID: else a head that was trained on would be tested on.",
        ),
        Check(
            "no_twin", "No head is there under the names of two patients, though its bytes differ",
            "ExpectColumnValuesToBeInSet", {"column": "has_twin", "value_set": [False]}, "unlike skulls and brains",
            "look at these cases: the split keeps each two in one cohort, but figures count two patients; remove one, or give "
            "both one PatientID.", severity="warning", observed=twins_in_words(pairs, chosen["case_id"]),
        ),
        Check(
            "one_person_a_patient", "A PatientID is one person's: one sex, one birth", "ExpectColumnValuesToBeInSet",
            {"column": "doubted", "value_set": [False]}, f"one sex, births at most {BIRTHS_APART_YEARS:g} years apart",
            "it is a placeholder, or was given twice: give each person a PatientID, else figures by patient count several people "
            "as one.", severity="warning", observed=_doubted_in_words(doubted),
        ),
        Check(
            "slice_step", "Slices lie as far apart as ingest lets them be thick", "ExpectColumnValuesToBeBetween",
            {"column": "spacing_mm", "min_value": thin / 2, "max_value": 2 * thick}, f"{thin / 2:g} to {2 * thick:g} mm",
            look, severity="warning", unit="mm",
        ),
        Check(
            "even_steps", "Slices lie evenly, but for gaps", "ExpectColumnValuesToBeInSet",
            {"column": "uneven_steps", "value_set": [False]}, f"within {params.ingest.spacing_tolerance:.0%} of the usual step",
            "true positions are kept; the interpolation between slices spans unlike distances in these cases.",
            severity="warning",
        ),
        Check(
            "no_contrast", "The pixels show no contrast agent", "ExpectColumnValuesToBeInSet",
            {"column": "contrast_suspected", "value_set": [False]},
            f"less than {params.ingest.contrast_share:.2%} of the brain brighter than blood",
            "look at these cases in the page of the ingest; take enhanced scans out of data/dicom.", severity="warning",
        ),
        Check(
            "whole_head", "No part of the head lies in a series that is not read", "ExpectColumnValuesToBeInSet",
            {"column": "unread_elsewhere", "value_set": [False]}, "all slices that show brain are read",
            "the page of the ingest names the slices: labels on them are not used, and what bleeds there is not seen.",
            severity="warning",
        ),
        Check(
            "no_gaps", "No slice is missing inside a series", "ExpectColumnValuesToBeInSet", {"column": "gaps", "value_set": [0]},
            "no gap", "nothing is interpolated across a gap; add the missing slices if you have them.", severity="warning",
        ),
        Check(
            "no_duplicates", "No two slices lie at one place", "ExpectColumnValuesToBeInSet",
            {"column": "duplicates", "value_set": [0]}, "no duplicate",
            "ingest kept one slice a place; work/ingest/account.csv names the others.", severity="warning",
        ),
        Check(
            "tilt", "The gantry is tilted no further than scanners can", "ExpectColumnValuesToBeBetween",
            {"column": "tilt_deg", "min_value": -STEEPEST_TILT_DEG, "max_value": STEEPEST_TILT_DEG},
            f"at most {STEEPEST_TILT_DEG:g}°", "check ImageOrientationPatient of these cases.", severity="warning", unit="°",
        ),
        *soft(
            limits.tolerated_share,
            {
                "name": "air_share", "words": "A series has a head's share of air", "expectation": "ExpectColumnValuesToBeBetween",
                "arguments": {"column": "air_share", "min_value": air_low, "max_value": air_high},
                "threshold": f"{air_low:.0%} to {air_high:.0%} of the voxels up to -900 HU",
                "remedy": "look at these cases in the page of the ingest: the rescale, the padding or the body part is in doubt.",
            },
        ),
        *soft(
            limits.tolerated_share,
            {
                "name": "soft_share", "words": "A series has a head's share of soft tissue",
                "expectation": "ExpectColumnValuesToBeBetween",
                "arguments": {"column": "soft_share", "min_value": soft_low, "max_value": soft_high},
                "threshold": f"{soft_low:.0%} to {soft_high:.0%} of the voxels from 0 to 100 HU",
                "remedy": "look at these cases in the page of the ingest: the rescale is in doubt, or it is no head.",
            },
        ),
        *soft(
            limits.tolerated_share,
            {
                "name": "air", "words": "A series shows air", "expectation": "ExpectColumnValuesToBeBetween",
                "arguments": {"column": "lowest_hu", "max_value": limits.air_hu}, "threshold": f"lowest voxel ≤ {limits.air_hu:g} HU",
                "remedy": "check RescaleIntercept and RescaleSlope of these cases: without air the Hounsfield scale is in doubt.",
                "unit": "HU",
            },
        ),
    )  # fmt: skip
    return Suite("series", "Series", "chosen series", chosen, ("case_id",), checks)


def _doubted_in_words(doubted: Sequence[Doubted]) -> str:
    each = "; ".join(f"{one.patient_key} has {one.studies} studies of {one.words}" for one in doubted[:3])
    return each + (f"; and {len(doubted) - 3} more" if len(doubted) > 3 else "") or "none contradicts itself"


def slices_suite(slices: pd.DataFrame, params: Params) -> Suite:
    """One row a slice of the chosen series; steps to the neighbours are null where there is none."""
    table = slices.copy()
    table["hu_span"] = (table["hu_max"] - table["hu_min"]).astype(float)
    before, after = table["neighbour_before"], table["neighbour_after"]
    table["step_before"] = (table["index"] - before).where(before != NO_NEIGHBOUR).astype(float)
    table["step_after"] = (after - table["index"]).where(after != NO_NEIGHBOUR).astype(float)
    table["position_step_mm"] = table.groupby("volume", sort=False)["position_mm"].diff().astype(float)
    least = params.validate_.minimum_hu_range
    again = "run `dvc repro -f ingest`; if it comes back, report it: ingest promises this."
    checks = (
        Check(
            "slice_once", "Every slice appears once", "ExpectColumnValuesToBeUnique", {"column": UID}, "no SOPInstanceUID twice",
            again,
        ),
        Check(
            "index_once", "Every place in a volume is one slice", "ExpectCompoundColumnsToBeUnique",
            {"column_list": ["volume", "index"]}, "no place twice", again,
        ),
        Check(
            "rising", "Slices are ordered by position", "ExpectColumnValuesToBeBetween",
            {"column": "position_step_mm", "min_value": 0, "strict_min": True}, "each step above 0 mm", again, unit="mm",
        ),
        Check(
            "neighbour_before", "The neighbour before is the slice before, or none at an end or a gap",
            "ExpectColumnValuesToBeInSet", {"column": "step_before", "value_set": [1]}, "index − 1 or none", again,
        ),
        Check(
            "neighbour_after", "The neighbour after is the slice after, or none at an end or a gap",
            "ExpectColumnValuesToBeInSet", {"column": "step_after", "value_set": [1]}, "index + 1 or none", again,
        ),
        *soft(
            params.validate_.tolerated_share,
            {
                "name": "hu_range", "words": "A slice shows a head: its Hounsfield values differ",
                "expectation": "ExpectColumnValuesToBeBetween", "arguments": {"column": "hu_span", "min_value": least},
                "threshold": f"span of at least {least:g} HU",
                "remedy": "look at these slices: they are blank, or their rescale is wrong.", "unit": "HU",
            },
        ),
    )  # fmt: skip
    return Suite("slices", "Slices", "slices", table, ("case_id", "index"), checks)
