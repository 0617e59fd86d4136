"""All of ``reports/``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ich_pipeline.core.files import atomic_dir, sha256_of, write_json, write_text
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.evaluation.style import marked
from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.case import ExplainedCase, uncalibrated_labels
from ich_pipeline.report import figures as draw
from ich_pipeline.report.baselines import baselines_markdown
from ich_pipeline.report.boxed import OWN
from ich_pipeline.report.case_page import RULES, case_page
from ich_pipeline.report.cases import CaseLine, ChosenCase, case_line, choose_cases, explained
from ich_pipeline.report.cautions import cautions
from ich_pipeline.report.conclusions import interpolation_conclusion, reading_conclusion, sequence_conclusion
from ich_pipeline.report.inputs import Inputs, TestResult
from ich_pipeline.report.localisation import TestLocalisation, localise_tests
from ich_pipeline.report.method import overview_steps, settings
from ich_pipeline.report.metrics import headline, markdown, markdown_table, merged
from ich_pipeline.report.pages import atlas_page, index_page
from ich_pipeline.report.points import point_rows
from ich_pipeline.report.render import render
from ich_pipeline.report.uncertainty import uncertainty_markdown
from ich_pipeline.tables.cohort_mark import data_words
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.training.spec import WEIGHTS_FILE


def build_report(inputs: Inputs, target: Path, track: Track = quiet) -> list[ChosenCase]:
    """Write metrics.json, headline.json, metrics.md, model_card.md, index.html, atlas.html, cases/ and figures/ into ``target``.

    Other files in ``target`` are left alone.

    Returns:
        the cases that have a page.
    """
    params = inputs.params
    architecture = params.explain.architecture
    network = Network.load(inputs.folders.train / architecture)
    inputs.atlas.check_network(sha256_of(inputs.folders.train / architecture / WEIGHTS_FILE), inputs.folders.atlas)
    explainer = Explainer(network, params.explain)
    chosen = [
        case
        for test in inputs.tests
        for case in choose_cases(
            test.cases, test.failures, params.labels.any, test.name, params.report.case_pages, params.seed
        )
    ]
    localisations = localise_tests(inputs, network, explainer, track)
    blocks = merged({test.name: test.metrics for test in inputs.tests})
    warnings = [*inputs.cautions, *cautions(blocks, params.tests, params.labels.any)]
    data = data_words(inputs.folders.data)
    example, lines = _case_pages(inputs, chosen, network, explainer, target / "cases", track, " ".join(warnings))
    with atomic_dir(target / "figures") as folder, marked(data):
        _figures(inputs, example, localisations, folder)
    specs = {name: NetworkSpec.load(inputs.folders.train / name) for name in params.architectures}
    trainable = [name for name, spec in specs.items() if spec.trainable_windows]
    learnt = {name: Network.load(inputs.folders.train / name).windows() for name in trainable}
    method = f"{explainer.method} of {architecture}"
    described = settings(params, specs, inputs.ensemble, method, learnt, inputs.calibrated)
    results = markdown(blocks, params.tests, params.ensemble.decision, params.evaluation.confidence, warnings, data)
    results += baselines_markdown(blocks, params.tests, params.labels.any)
    results += uncertainty_markdown({test.name: test.uncertainty for test in inputs.tests}, params.label_set.columns)
    write_json(target / "metrics.json", {"data": data, **blocks})
    few = headline(blocks, params.labels.any, params.ensemble.decision, data, warnings)
    write_json(target / "headline.json", few)
    write_text(target / "metrics.md", results)
    atlas = atlas_page(inputs.atlas, params.windowing.windows, params.explain.region_fraction, "index.html")
    write_text(target / "atlas.html", atlas)
    write_text(target / "model_card.md", _model_card(inputs, specs, described, results, localisations))
    index = index_page(
        inputs, target / "figures", lines, localisations, described, explainer.method, example.case_id, warnings
    )
    write_text(target / "index.html", index)
    return chosen


def _case_pages(
    inputs: Inputs,
    chosen: Sequence[ChosenCase],
    network: Network,
    explainer: Explainer,
    target: Path,
    track: Track,
    caution: str,
) -> tuple[ExplainedCase, list[CaseLine]]:
    """Write a page for every chosen case, one case in memory at a time; returns the figures' example, and a line a case.

    The example is a case that the system calls positive, rightly where there is one.
    """
    shown = next((i for i, case in enumerate(chosen) if case.kind == "true positive"), 0)
    by_name = {test.name: test for test in inputs.tests}
    example, lines = None, []
    with atomic_dir(target) as folder:
        for i, case in enumerate(track(chosen, "cases", len(chosen))):
            content, truth = explained(inputs, by_name[case.test], case.case_id, network, explainer)
            fraction = inputs.params.explain.region_fraction
            page = case_page(
                content,
                truth=truth,
                region_fraction=fraction,
                home="../index.html",
                caution=caution,
                model="the ensemble of this run",
                learned=inputs.origin.words,
            )
            write_text(folder / f"{case.case_id}.html", page)
            lines.append(case_line(case, content, truth, by_name[case.test]))
            if i == shown:
                example = content
    assert example is not None  # a test cohort has a case, and case_pages is at least 1
    return example, lines


def _figures(
    inputs: Inputs,
    example: ExplainedCase,
    localisations: Sequence[TestLocalisation],
    folder: Path,
) -> None:
    """Figures 1 to 5 of the method, and the attention examples."""
    params = inputs.params
    fraction = params.explain.region_fraction
    draw.draw_overview(overview_steps(params, inputs.ensemble), folder / "1_system.svg")
    draw.draw_outputs(example, fraction, folder / "2_outputs.svg")
    prevalence = {t.name: t.metrics["slice"]["mean"]["prevalence"]["value"] for t in inputs.tests}
    draw.draw_ablation({t.name: t.ablation for t in inputs.tests}, prevalence, folder / "3_ablation.svg")
    for test in inputs.tests:
        for name in ("roc", "pr"):
            shutil.copyfile(test.folder / "figures" / f"{name}.svg", folder / f"4_{name}_{test.name}.svg")
    draw.draw_atlas(inputs.atlas, params.windowing.windows, fraction, folder / "5_atlas.svg")
    draw.draw_basis(example, fraction, folder / "5_basis.svg")
    for found in localisations:
        if found.examples:
            target = folder / f"attention_{found.test}.svg"
            draw.draw_attention(found.examples, params.windowing.windows[0], fraction, target)


def _model_card(
    inputs: Inputs,
    specs: dict[str, NetworkSpec],
    described: Sequence[tuple[str, str]],
    results: str,
    localisations: Sequence[TestLocalisation],
) -> str:
    params = inputs.params
    chosen = inputs.series[inputs.series["chosen"]]
    sources = {"none": "random initialisation, trained on this data alone", "imagenet": "ImageNet (keras.applications)"}
    return render(
        "model_card.md.j2",
        params={
            "profile": params.profile,
            "subtypes": [s.replace("_", " ") for s in params.labels.subtypes],
            "any": params.labels.any,
            "phantom": inputs.folders.synthetic,
        },
        data={"patients": chosen["patient_key"].nunique(), "slices": len(inputs.slices)},
        origin=inputs.origin.words,
        cohorts=inputs.cohorts.to_dict("records"),
        settings=described,
        weights={name: sources.get(spec.weights, spec.weights) for name, spec in specs.items()},
        results=results.replace("\n## ", "\n### ").replace("# Results", "## Results", 1),
        not_read=params.precedent.false_alarms,
        tests=[_spoken(inputs, test) for test in inputs.tests],
        tolerance=params.explain.hit_tolerance_mm,
        one_map=params.explain.maps == "any",
        chosen_on=inputs.calibrated["chosen_on"],
        rule=RULES[inputs.ensemble.case_score.rule],
        uncalibrated=uncalibrated_labels(inputs.ensemble),
        sequence=bool(params.sequence.architectures),
        fraction=params.explain.region_fraction,
        localised=[(found.test, row) for found in localisations for row in found.rows],
        boxed=[
            (found.test, row) for found in localisations for row in found.box_rows if row[OWN].maps or row[OWN].constant
        ],
    )


def _spoken(inputs: Inputs, test: TestResult) -> dict[str, Any]:
    """One test for the model card."""
    params = inputs.params
    return {
        "name": test.name,
        "reading": test.reading,
        "points": markdown_table(point_rows(inputs.ensemble, params.ensemble, test.metrics, params.labels.any)),
        "reading_words": reading_conclusion(test.reading),
        "interpolation_words": interpolation_conclusion(test.ablation, inputs.ensemble, params.architectures),
        "sequence_words": sequence_conclusion(test.ablation, inputs.ensemble, params.sequence.architectures),
    }
