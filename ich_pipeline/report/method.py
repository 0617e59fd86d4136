"""The method in words and values: the boxes of the overview figure and the settings table, from params alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ich_pipeline.baselines.hu_rule import member_title
from ich_pipeline.config import Params
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.report.render import score
from ich_pipeline.training.spec import NetworkSpec
from ich_pipeline.windowing.windows import WindowLike


def overview_steps(params: Params, ensemble: Ensemble) -> list[tuple[str, str]]:
    """(name, words) of the system's steps, in order."""
    windows = "\n".join(f"{w.name} {w.center:g}/{w.width:g} HU" for w in params.windowing.windows)
    networks = "\n".join(params.architectures)
    combiner = ensemble.second_reading.combiner
    interpolating = [name for name in params.architectures if name in combiner.members and ensemble.degrees[name] > 0]
    degrees = "\n".join(f"{name}: {ensemble.degrees[name]:g}" for name in interpolating)
    again = (
        f"with interpolated neighbours,\ndegree α:\n{degrees}"
        if interpolating
        else "without interpolation\n(no degree was clearly better)"
    )
    first = "every slice alone;\na sequence head: all of a case" if ensemble.heads else "every slice alone"
    return [
        ("DICOM", "unenhanced head CT,\none axial series a study,\nHounsfield units"),
        ("Windows", f"three channels:\n{windows}"),
        ("Networks", f"{networks}\nglobal average pooling,\none sigmoid a label"),
        (
            "Ensemble",
            f"{combiner.kind.replace('_', ' ')} of\n{', '.join(map(member_title, combiner.members))}".replace(
                ", ", ",\n"
            ),
        ),
        ("First reading", f"{first};\nsuspicious from\n{ensemble.gate_threshold:.3f} (any)"),
        ("Second reading", f"suspicious slices again,\n{again}"),
        (
            "Decision",
            f"case score: {ensemble.case_score}\n{ensemble.decision.replace('_', ' ')} point,\n≥ {ensemble.decision_threshold:.3f}",
        ),
        (
            "Reasons",
            f"attention map,\n{params.explain.basis_neighbours} nearest examples from\n{'the atlas' if params.explain.basis_pool == 'atlas' else 'all training positives'}",
        ),
    ]


def settings(
    params: Params,
    specs: Mapping[str, NetworkSpec],
    ensemble: Ensemble,
    attention_method: str,
    learnt: Mapping[str, Sequence[WindowLike]],
    calibrated: Mapping[str, Any],
) -> list[tuple[str, str]]:
    """(setting, value) rows for the page and the model card.

    Args:
        params: all parameters.
        specs: of the trained networks, by architecture.
        ensemble: as calibrated.
        attention_method: the map's name and layer.
        learnt: by architecture, the windows that a network with trainable ones ended with.
        calibrated: ``metrics.json`` of calibrate.
    """
    rows = [
        ("Profile", params.profile),
        ("Seed", str(params.seed)),
        ("Windows (level/width HU)", _windows(params.windowing.windows)),
    ]
    rows += [(f"Windows as {name} learnt them", _windows(windows)) for name, windows in learnt.items()]
    for name, spec in specs.items():
        of = params.networks[name]
        size = f"{spec.image_size} × {spec.image_size} px"
        words = f"{size}, {of.epochs:g} {'pass' if of.epochs == 1 else 'passes'}, batch {of.batch_size}, learning rate {of.learning_rate:g}, {_weights(spec.weights)}"
        rows.append((f"Network {name}", f"{words}, SI degree {ensemble.degrees[name]:g}"))
    augment = params.training.augmentation
    negatives = params.training.negatives_per_positive
    combiner = ensemble.second_reading.combiner
    on = calibrated["chosen_on"]
    rows += [
        ("Negatives drawn a pass", "all: a pass is an epoch" if negatives is None else f"{negatives:g} for each positive slice, drawn anew each pass: a pass is a balanced sample, less than an epoch"),
        ("Optimiser", f"{params.training.optimizer}, {params.training.schedule} schedule, gradients clipped at {params.training.gradient_clip_norm:g}"),
        ("Loss", f"binary cross-entropy, classes weighted by frequency, capped at {params.training.class_weight_cap:g}"),
        (
            "Augmentation",
            f"rotation ± {augment.rotation_deg:g}°, shift ± {augment.shift:.0%}, zoom ± {augment.zoom:.0%}, "
            f"shear ± {augment.shear_deg:g}°, {'horizontal flip' if augment.horizontal_flip else 'no flip'}",
        ),
        ("Slice interpolation candidates", ", ".join(f"{d:g}" for d in params.interpolation.candidates)),
        ("Sequence head", _sequence(params)),
        ("Combiner", f"{combiner.kind.replace('_', ' ')} of {', '.join(map(member_title, combiner.members))}, chosen {on}, with cross-fitting"),
        ("Gate of the second reading", f"{ensemble.gate_threshold:.4f}, sensitivity ≥ {params.ensemble.sensitivity_target:g} {on}"),
        ("Case score", f"{ensemble.case_score} of the slices' calibrated probabilities; not calibrated itself{_rule_choice(calibrated['case_score'])}"),
        ("Decision", f"{ensemble.decision.replace('_', ' ')}: case score of “{params.labels.any}” ≥ {ensemble.decision_threshold:.4f}"),
        ("Conformal sets", f"{params.ensemble.coverage:g} coverage of the patients with, and of those without, each finding; {on}, one case a patient"),
        ("Attention", attention_method),
        (
            "Prediction basis",
            f"{params.explain.basis_neighbours} nearest among {'the atlas' if params.explain.basis_pool == 'atlas' else 'all training positives'}, "
            f"{params.explain.classic_features} classic features a subtype",
        ),
    ]  # fmt: skip
    return rows


def _rule_choice(found: Mapping[str, Any]) -> str:
    """Beside what the rule was chosen, by which figures; nothing where the settings named it."""
    tried = found["candidates"]
    if len(tried) == 1:
        return ""
    figures = ", ".join(f"{rule} {score(of['auc_any'], 3)}" for rule, of in tried.items())
    return f"; chosen by the case AUC of “any” out of {figures}"


def _windows(windows: Sequence[WindowLike]) -> str:
    return ", ".join(f"{w.name} {w.center:.4g}/{w.width:.4g}" for w in windows)


def _sequence(params: Params) -> str:
    of = params.sequence
    if not of.architectures:
        return "off"
    return (
        f"{', '.join(of.architectures)}: recurrent, {of.units} units each way, dropout {of.dropout:g}, "
        f"at most {of.epochs} passes; on frozen features without slice interpolation"
    )


def _weights(text: str) -> str:
    """Of a file the name alone: its folder is nobody's business."""
    return "trained from random weights" if text == "none" else f"weights began as {PurePath(text).name}"
