"""The atlas page and the overview page: self-contained HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_pipeline.explain.atlas import Atlas, AtlasEntry
from ich_pipeline.explain.patches import cut_out
from ich_pipeline.report.baselines import BLOCK, baseline_conclusion, comparison_rows
from ich_pipeline.report.cases import CaseLine
from ich_pipeline.report.conclusions import (
    interpolation_conclusion,
    reading_conclusion,
    reading_rows,
    sequence_conclusion,
)
from ich_pipeline.report.inputs import Inputs, TestResult
from ich_pipeline.report.localisation import TestLocalisation, control_words
from ich_pipeline.report.metrics import result_rows
from ich_pipeline.report.pictures import ct_uri, draw_map, hu_uri, window_filters
from ich_pipeline.report.points import point_rows
from ich_pipeline.report.render import display_name, embedded, render
from ich_pipeline.report.uncertainty import card
from ich_pipeline.tables.reader_tables import SIMULATED
from ich_pipeline.windowing.windows import WindowLike, clip_range

PATCH = 32  # pixels of a patch: a quarter of a stored picture's side
GAP = 2  # black pixels between two patches
HARDLY = 0.6  # area under the ROC curve below which a subtype's examples are not called typical of it


def atlas_page(atlas: Atlas, windows: Sequence[WindowLike], fraction: float, home: str | None = None) -> str:
    """Every subtype's ranked examples with the region that speaks for it."""
    size = atlas.thumbnails.shape[1]
    sections = []
    for entry in atlas.entries:
        examples = []
        for rank, (row, shown) in enumerate(zip(entry.ranked.tolist(), entry.scores.tolist(), strict=True), start=1):
            found = atlas.attention(row, entry.label)
            examples.append(
                {
                    "rank": rank,
                    "uri": ct_uri(atlas.thumbnails[row], size, windows),
                    "drawing": draw_map(found, atlas.thumbnails[row], fraction),
                    "truth": atlas.truth_of(row),
                    "case_id": atlas.case_ids[row],
                    "shown": shown,
                }
            )
        sections.append(
            {
                "label": entry.label,
                "positives": len(entry.positives),
                "patients": len({atlas.patient_keys[i] for i in entry.positives.tolist()}),
                "classic": len(entry.classic.features),
                "single": entry.single,
                "eligible": len(entry.eligible),
                "hardly": entry.discrimination < HARDLY,
                "discrimination": None if np.isnan(entry.discrimination) else entry.discrimination,
                "reason": entry.reason,
                "checks": entry.checks,
                "examples": examples,
                "patches": _patches(atlas, entry, windows),
                "of_it": entry.patches.share(atlas.truth[:, atlas.labels.subtypes.index(entry.label)] == 1),
                "prevalence": float((atlas.truth[:, atlas.labels.subtypes.index(entry.label)] == 1).mean()),
            }
        )
    return render(
        "atlas.html.j2",
        filters=window_filters(windows),
        sections=sections,
        atlas=atlas,
        one_map=atlas.map_labels == (atlas.labels.any,),
        home=home,
        empty="no localisation",
        patch=PATCH,
    )


def _patches(atlas: Atlas, entry: AtlasEntry, windows: Sequence[WindowLike]) -> list[dict[str, Any]]:
    """A strip for each channel of the classic features: the spots where it fires strongest, side by side."""
    found = []
    for channel, rows, at in zip(entry.patches.channels.tolist(), entry.patches.rows, entry.patches.at, strict=True):
        there = [(int(row), spot) for row, spot in zip(rows, at, strict=True) if row >= 0]
        patches = [cut_out(atlas.thumbnails[row], spot, PATCH) for row, spot in there]
        black = np.full((PATCH, GAP), int(clip_range(windows)[0]), np.int16)
        strip = np.concatenate([part for patch in patches for part in (black, patch)][1:], axis=1)
        names = [", ".join(map(display_name, atlas.truth_of(row))) for row, _ in there]
        found.append(
            {"channel": channel, "uri": hu_uri(strip, windows), "width": strip.shape[1], "truth": " | ".join(names)}
        )
    return found


def index_page(
    inputs: Inputs,
    figures: Path,
    lines: Sequence[CaseLine],
    localisations: Sequence[TestLocalisation],
    settings: Sequence[tuple[str, str]],
    attention_method: str,
    example: str,
    cautions: Sequence[str] = (),
) -> str:
    """The page that links everything; its pictures are inside it.

    Args:
        inputs: all data.
        figures: folder of the figures that were drawn.
        lines: of the case pages that exist.
        localisations: attention against masks and boxes.
        settings: (setting, value).
        attention_method: what made the maps.
        example: case_id of the figures' case.
        cautions: what the tests do not show.
    """
    params = inputs.params
    point = params.ensemble.decision
    readers = sorted({r["reader"] for t in inputs.tests for rows in t.readers["labels"].values() for r in rows})
    return render(
        "index.html.j2",
        params=params,
        phantom=inputs.folders.synthetic,
        readers_are_reference=inputs.folders.readers_are_reference,
        point=point,
        chosen_on=inputs.calibrated["chosen_on"],
        cautions=cautions,
        confidence=params.evaluation.confidence,
        tests=[
            {
                "name": test.name,
                "levels": {level: result_rows(test.metrics, level, point) for level in ("slice", "case")},
                "reading": test.reading,
                "readings": reading_rows(test.reading),
                "reading_words": reading_conclusion(test.reading),
                "interpolation_words": interpolation_conclusion(test.ablation, inputs.ensemble, params.architectures),
                "sequence_words": sequence_conclusion(test.ablation, inputs.ensemble, params.sequence.architectures),
                "baselines": _baselines(test, params.labels.any),
                "points": point_rows(inputs.ensemble, params.ensemble, test.metrics, params.labels.any),
                "headline": _headline(test.metrics, params.labels.any, point),
                "subgroups": test.subgroups.astype(object).replace({np.nan: None}).to_dict("records"),
                "failures": len(test.failures),
                "cases": _cases(lines, test),
                "readers": test.readers,
                "uncertainty": card(test.uncertainty, test.metrics, params.label_set.columns),
            }
            for test in inputs.tests
        ],
        figures={path.stem: embedded(path) for path in sorted(figures.glob("*.svg"))},
        ablated=params.ablation,
        sequence=bool(params.sequence.architectures),
        pages=len(lines),
        example=example,
        threshold=inputs.ensemble.decision_threshold,
        filters=window_filters(params.windowing.windows)[:1],
        readers=readers,
        only_simulated=inputs.folders.synthetic and all(name.startswith(f"{SIMULATED} ") for name in readers),
        localisations=[(found, control_words(found.summaries, params.labels.any)) for found in localisations],
        tolerance=params.explain.hit_tolerance_mm,
        one_map=params.explain.maps == "any",
        attention_method=attention_method,
        maps=inputs.maps,
        fraction=params.explain.region_fraction,
        flow=_flow(inputs),
        cohorts=inputs.cohorts.astype(object).replace({np.nan: ""}).to_dict("records"),
        settings=settings,
        reasons={e.label: e.reason for e in inputs.atlas.entries if e.reason},
    )


def _baselines(test: TestResult, any_label: str) -> list[dict[str, Any]]:
    """Each baseline with its table and the conclusion."""
    return [
        {
            "title": found["title"],
            "how": found["how"],
            "rows": comparison_rows(test.metrics, found, any_label),
            "words": baseline_conclusion(found, any_label),
        }
        for found in test.metrics[BLOCK].values()
    ]


def _cases(lines: Sequence[CaseLine], test: TestResult) -> dict[str, list[CaseLine]]:
    """The test's cases that have a page: decided wrongly, in the order of evaluate's failures, and the others as chosen."""
    own = [line for line in lines if line.chosen.test == test.name]
    order = {case_id: place for place, case_id in enumerate(test.failures["case_id"].tolist())}
    wrong = sorted((line for line in own if line.wrong), key=lambda line: order[line.chosen.case_id])
    return {"wrong": wrong, "right": [line for line in own if not line.wrong]}


def _headline(metrics: Mapping[str, Any], any_label: str, point: str) -> list[dict[str, Any]]:
    case, slices, mean = metrics["case"][any_label], metrics["slice"][any_label], metrics["slice"]["mean"]
    return [
        {"name": "Case sensitivity", "entry": case[f"sensitivity@{point}"]},
        {"name": "Case specificity", "entry": case[f"specificity@{point}"]},
        {"name": "Slice AUC, any", "entry": slices["auc"]},
        {"name": "Mean average precision", "entry": mean["ap"]},
    ]


def _flow(inputs: Inputs) -> dict[str, Any]:
    series, account = inputs.series, inputs.account
    chosen = series[series["chosen"]]
    aside = account[account["status"] != "used"].groupby(["status", "reason"]).size()
    return {
        "files": len(account),
        "used": int((account["status"] == "used").sum()),
        "aside": [{"status": s, "reason": r, "files": int(n)} for (s, r), n in aside.items()],  # type: ignore[misc]
        "series": len(series),
        "chosen": len(chosen),
        "patients": int(chosen["patient_key"].nunique()),
        "slices": len(inputs.slices),
    }
