"""Stage calibrate: SI degree a network, combiner, calibration, case score and operating points, from scores out of sample.

They are those of the validation cohort. Where the split stage drew folds, the networks' tables hold the out-of-fold scores
of all patients of train and validation, and everything is chosen on these.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.baselines.hu_rule import MEMBER, member_title
from ich_pipeline.baselines.stored import read_baselines
from ich_pipeline.config import Params
from ich_pipeline.core.files import atomic_dir, write_json, write_table
from ich_pipeline.ensemble.case_rule import CaseChoice, RuleFigure
from ich_pipeline.ensemble.fit import Validation, cross_calibrated, fit_ensemble, fit_uncertainty
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.one_scale import Scale
from ich_pipeline.ensemble.ranking import Ranked, estimable, mean_average_precision
from ich_pipeline.ensemble.selection import Choice, Predictions
from ich_pipeline.ensemble.validation_tables import ValidationSlices, load_validation
from ich_pipeline.evaluation.bootstrap import draw_counts
from ich_pipeline.evaluation.metrics import Level, label_metrics
from ich_pipeline.evaluation.tables import as_text, baseline_prefix
from ich_pipeline.splits.fold_table import read_folds
from ich_pipeline.tables.cohort_mark import data_words
from ich_pipeline.tables.cohort_names import TRAIN, VALIDATION
from ich_pipeline.tables.schemas import VALIDATION_SCORES


def body(stage: Stage) -> StageResult:
    """Fit, write work/calibrate, record."""
    from ich_pipeline.evaluation.figures import draw_reliability
    from ich_pipeline.evaluation.style import marked
    from ich_pipeline.registry.tracking import open_run

    params = stage.params
    labels = params.label_set
    cohorts = (TRAIN, VALIDATION) if len(read_folds(layout.SPLIT / "folds.parquet")) else (VALIDATION,)
    slices = load_validation(
        train=layout.TRAIN,
        labels_csvs=[layout.SPLIT / "labels" / f"{cohort}.csv" for cohort in cohorts],
        window=layout.WINDOW,
        architectures=params.architectures,
        degrees=params.interpolation.candidates,
        labels=labels,
        sequence=layout.SEQUENCE,
        rule=layout.BASELINES / MEMBER if params.ensemble.hu_rule else None,
    )
    predictions = slices.predictions
    with open_run(stage.name, stage.item, params) as run:
        ensemble, choice, validation = fit_ensemble(
            labels, predictions, slices.case_index, slices.neighbours, params.ensemble
        )
        names = (list(slices.table["SOPInstanceUID"]), list(slices.table["case_id"]))
        uncertainty = fit_uncertainty(
            labels,
            predictions,
            slices.case_index,
            slices.neighbours,
            names,
            validation.crossed,
            ensemble.case_score,
            params.ensemble,
        )
        ensemble = replace(ensemble, uncertainty=uncertainty)
        calibrated = cross_calibrated(validation.combined_second, predictions, params.ensemble.folds)
        metrics = _metrics(ensemble, choice, validation, predictions)
        metrics["chosen_on"] = _source(cohorts)
        metrics["scale"] = _scales(slices, validation, ensemble)
        metrics["calibration"] = _calibration(
            {"before": validation.combined_second, "after": calibrated}, predictions, params
        )
        with atomic_dir(layout.CALIBRATE) as folder:
            ensemble.save(folder / "ensemble.json")
            write_table(folder / "validation.parquet", _table(slices, validation, ensemble), VALIDATION_SCORES)
            write_json(folder / "metrics.json", metrics)
            with marked(data_words(layout.DATA)):
                draw_reliability(
                    labels,
                    validation.combined_second,
                    calibrated,
                    predictions.truth,
                    params.ensemble.folds,
                    f"{metrics['chosen_on']}, {metrics['patients']} patients",
                    folder / "reliability.png",
                )
        run.params({"combiner": choice.kind, "members": ",".join(ensemble.members), "degrees": choice.degrees})
        run.metrics(metrics)
        run.figure(layout.CALIBRATE / "reliability.png")
        run.artifact(layout.CALIBRATE / "ensemble.json")
    summary = (
        f"{metrics['chosen_on']}, {metrics['patients']} patients: {_combination(ensemble, choice)}; mean average precision "
        f"{_text(metrics['cross_fitted']['mean_ap'])} (cross-fitted), prevalence {_text(metrics['prevalence'])}; "
        f"case score: {ensemble.case_score}, case AUC {_text(metrics['cross_fitted']['auc_any_case'])} (cross-fitted)"
    )
    tables = {
        "slice interpolation": _degree_table(choice),
        "combiners": _candidate_table(choice),
        "case scores": _rule_table(validation.case_rule),
        "operating points": _point_table(ensemble),
        "calibration": _calibration_table(metrics["calibration"]),
        "conformal sets": _conformal_table(ensemble),
    }
    return StageResult(summary, tables=tables, pictures={"reliability": layout.CALIBRATE / "reliability.png"})


def _source(cohorts: tuple[str, ...]) -> str:
    """Whose scores everything is chosen on, for people, as in "chosen on validation"."""
    return "on validation" if cohorts == (VALIDATION,) else "out of fold on train and validation patients"


def _combination(ensemble: Ensemble, choice: Choice) -> str:
    """What was chosen, and who of it has no say."""
    idle = [member_title(name) for name in choice.members if name not in ensemble.members]
    members = [member_title(name) for name in ensemble.members]
    words = f"{choice.kind.replace('_', ' ')} of {', '.join(members)}"
    if len(members) == 1:
        words = f"{members[0]} alone"
    return f"{words} (no weight: {', '.join(idle)})" if idle else words


def _figure(value: float) -> float | None:
    """A number for JSON: None where there is none."""
    return None if np.isnan(value) else float(value)


def _text(value: float | None) -> str:
    """A number for people."""
    return "not estimable" if value is None else f"{value:.3f}"


def _ranking(scores: np.ndarray, predictions: Predictions) -> dict[str, float | None]:
    truth = predictions.truth
    return {
        "mean_ap": _figure(float(mean_average_precision(scores[:, 1:], truth[:, 1:], predictions.patients))),
        "auc_any": _figure(float(Ranked(scores[:, 0], truth[:, 0]).auc())),
    }


def _metrics(ensemble: Ensemble, choice: Choice, validation: Validation, predictions: Predictions) -> dict[str, Any]:
    truth = predictions.truth
    true_case = validation.case_truth[:, 0] == 1
    in_mean = estimable(truth[:, 1:], predictions.patients)
    return {
        "patients": len(np.unique(predictions.patients)),
        "cases": len(true_case),
        "slices": len(truth),
        # Means over subtypes, here and in what follows, are over these: positives in two patients at least.
        "labels_in_mean": [name for name, used in zip(ensemble.labels.subtypes, in_mean, strict=True) if used],
        "prevalence": float(truth[:, 1:].mean(axis=0)[in_mean].mean()) if in_mean.any() else None,
        # Every choice repeated without the slice's patient: the figure to report.
        "cross_fitted": {**_ranking(validation.honest, predictions), "auc_any_case": _honest_case_auc(validation)},
        # What the iterative reading gives with the choices made: they saw these patients.
        "final": {
            **_ranking(validation.final, predictions),
            "auc_any_case": _figure(_chosen(validation.case_rule).auc),
        },
        "case_score": _rules(validation),
        "degrees": {
            name: {f"{degree:g}": _figure(figure.value) for degree, figure in figures.items()}
            for name, figures in choice.degree_figures.items()
        },
        "chosen_degrees": choice.degrees,
        "candidates": {
            f"{kind}({'+'.join(members)})": {
                "mean_ap": _figure(of.value),
                "gain": _figure(of.gain),
                "gain_standard_error": _figure(of.error),
            }
            for kind, members, of in choice.candidate_figures
        },
        "reading": {
            "slices_reread": int(validation.reread.sum()),
            "true_cases": int(true_case.sum()),
            "true_cases_lost": int((true_case & ~validation.let_through).sum()),
        },
    }


def _honest_case_auc(validation: Validation) -> float | None:
    """AUC of "any" over cases, every choice, the case score's too, repeated without the case's patient."""
    if isinstance(validation.crossed, str):
        return None
    return _figure(float(Ranked(validation.crossed.case_ranking, validation.case_truth[:, 0]).auc()))


def _chosen(rule: CaseChoice) -> RuleFigure:
    return next(figure for figure in rule.figures if figure.score == rule.score)


def _rules(validation: Validation) -> dict[str, Any]:
    """The case score's rule: which, by what figures, and what each fold's others would have taken."""
    crossed = validation.crossed
    return {
        "chosen": str(validation.case_rule.score),
        "without_each_fold": crossed if isinstance(crossed, str) else [str(rule) for rule in crossed.rules],
        "candidates": {
            str(f.score): {"auc_any": _figure(f.auc), "gain": _figure(f.gain), "gain_standard_error": _figure(f.error)}
            for f in validation.case_rule.figures
        },
    }


def _scales(slices: ValidationSlices, validation: Validation, ensemble: Ensemble) -> dict[str, Any]:
    """On what scale system and baselines speak, by level and label: needed where several systems' answers are pooled."""
    rule, places = ensemble.case_score, (slices.case_index, slices.neighbours)
    read = {"final": (validation.final, validation.case_scores)}
    for baseline in read_baselines(layout.BASELINES, slices.table["SOPInstanceUID"], ensemble.labels):
        read[baseline_prefix(baseline.name)] = (baseline.scores, rule(baseline.scores, *places))
    return {
        prefix: {
            level: {name: Scale.of(scores[:, k]).to_json() for k, name in enumerate(ensemble.labels.columns)}
            for level, scores in zip(("slice", "case"), both, strict=True)
        }
        for prefix, both in read.items()
    }


def _calibration(scores: dict[str, np.ndarray], predictions: Predictions, params: Params) -> dict[str, Any]:
    """Brier score and calibration error of the second reading before and after, cross-fitted, with intervals by patient."""
    patients = np.unique(predictions.patients, return_inverse=True)[1]
    counts = draw_counts(int(patients.max()) + 1, params.evaluation.bootstrap, params.seed)
    level = Level(patients, counts)
    found: dict[str, Any] = {}
    for stage, of_stage in scores.items():
        estimates = {
            name: label_metrics(of_stage[:, k], predictions.truth[:, k], {}, level)
            for k, name in enumerate(params.label_set.columns)
        }
        found[stage] = {
            name: {key: of_label[key].to_json(params.evaluation.confidence) for key in ("brier", "ece")}
            for name, of_label in estimates.items()
        }
    return found


def _table(slices: ValidationSlices, validation: Validation, ensemble: Ensemble) -> pd.DataFrame:
    table = slices.table[["SOPInstanceUID", "case_id", "patient_key"]].copy()
    for reading in ("first", "second", "final"):
        for k, name in enumerate(ensemble.labels.columns):
            table[f"{reading}_{name}"] = getattr(validation, reading)[:, k]
    table["reread"] = validation.reread
    return table


def _degree_table(choice: Choice) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "architecture": name,
                **{f"SI {d:g}": round(of.value, 3) for d, of in figures.items()},
                "chosen": choice.degrees[name],
            }
            for name, figures in choice.degree_figures.items()
        ]
    )


def _candidate_table(choice: Choice) -> pd.DataFrame:
    rows = [
        {
            "combiner": kind,
            "members": ", ".join(members),
            "mAP": round(of.value, 3),
            "gain": round(of.gain, 3),
            "standard error": round(of.error, 3),
            "chosen": "yes" if (kind, members) == (choice.kind, choice.members) else "",
        }
        for kind, members, of in choice.candidate_figures
    ]
    return pd.DataFrame(rows).sort_values(["chosen", "mAP"], ascending=False, kind="stable").head(8)


def _rule_table(rule: CaseChoice) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "rule": str(f.score),
                "case AUC": round(f.auc, 3),
                "gain": round(f.gain, 3),
                "standard error": round(f.error, 3),
                "chosen": "yes" if f.score == rule.score else "",
            }
            for f in rule.figures
        ]
    )


def _point_table(ensemble: Ensemble) -> pd.DataFrame:
    any_name = ensemble.labels.any
    points = {"gate": ensemble.gate}
    points |= {f"slice, {name}": p for name, p in ensemble.slice_points[any_name].items()}
    points |= {f"case, {name}": p for name, p in ensemble.case_points[any_name].items()}
    return pd.DataFrame(
        [
            {
                "operating point": name,
                "threshold": p.threshold,
                "sensitivity": p.sensitivity,
                "specificity": p.specificity,
            }
            for name, p in points.items()
        ]
    ).round(3)


def _calibration_table(found: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"label": name, **{f"{key}, {stage}": as_text(found[stage][name][key]) for key in of for stage in found}}
            for name, of in found["after"].items()
        ]
    )


def _conformal_table(ensemble: Ensemble) -> pd.DataFrame:
    known = ensemble.uncertainty
    assert known is not None
    rows = []
    for level, of_level in (("case", known.cases), ("slice", known.slices)):
        for name, limits in of_level.items():
            rows.append(
                {
                    "level": level,
                    "label": name,
                    "coverage": known.coverage,
                    "absent to": limits.absent_to,
                    "present from": limits.present_from,
                    "patients without / with": f"{limits.negatives} / {limits.positives}",
                    "not available": limits.reason or "",
                }
            )
    return pd.DataFrame(rows).round(4)


if __name__ == "__main__":
    main("calibrate", body)
