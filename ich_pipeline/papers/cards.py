"""Model card and dataset card as RSNA ATLAS JSON, version 2025-11, beside the Markdown.

What only people know (authors, contact, funding, ethical review, the data's licence) is left out and named in the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ich_pipeline.core.yaml_text import read_yaml
from ich_pipeline.papers.facts import OLDEST, PARTITIONS, Cohort

TABLES = Path(__file__).with_name("tables")
UNSTATED = (
    "https://example.org/authors-must-state-where"  # the schemas ask for a link; example.org is nobody's (RFC 2606)
)
METHOD = {
    "Authors": "Lee H, Yune S, Mansouri M, et al.",
    "Title": "An explainable deep-learning algorithm for the detection of acute intracranial haemorrhage from small datasets",
    "Source": "Nature Biomedical Engineering 3, 173-182",
    "Date": 2019,
    "DOI": "10.1038/s41551-018-0324-9",
}
METRICS = (
    "area under the receiver operating characteristic curve",
    "mean average precision",
    "sensitivity",
    "specificity",
    "positive predictive value",
    "negative predictive value",
    "F1 score",
    "Brier score",
    "expected calibration error",
)
KEYWORDS = ("intracranial haemorrhage", "head CT", "small data", "explainable", "deep learning")


def check_card(card: Mapping[str, Any], kind: Literal["model", "dataset"]) -> None:
    """Hold a card against the fields of ATLAS that this project fills (``tables/atlas.yaml``).

    Raises:
        ValueError: it breaks one of their rules; names the field.
    """
    from jsonschema import Draft202012Validator

    rules = read_yaml((TABLES / "atlas.yaml").read_text(encoding="utf-8"))
    validator = Draft202012Validator(
        {"$defs": rules["$defs"], **rules[kind]}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    for error in sorted(validator.iter_errors(dict(card)), key=lambda e: list(map(str, e.absolute_path))):
        place = " / ".join(map(str, error.absolute_path)) or "the card"
        raise ValueError(f"ATLAS {kind} card, {place}: {error.message[:200]}")


def model_card(of: Mapping[str, Any]) -> dict[str, Any]:
    """The model card.

    Args:
        of: :func:`ich_pipeline.papers.facts.facts`.
    """
    p = of["p"]
    sizes = ", ".join(
        f"{name} {p.networks[name].image_size} × {p.networks[name].image_size}" for name in p.architectures
    )
    windows = ", ".join(f"{w.name} {w.center:g}/{w.width:g} HU" for w in p.windowing.windows)
    limits = [
        "Small test cohorts: read the intervals.",
        "Another scanner, protocol or population needs its own validation and calibration.",
        "Attention maps say where a score comes from, not why.",
        *(["Synthetic heads alone: no figure says how the system reads patients."] if of["synthetic"] else []),
        *of["cautions"],
    ]
    card = {
        "$schema": "https://atlas.rsna.org/schemas/2025-11/model.json",
        "Model": {
            "Name": f"{p.registry.model_name}: acute intracranial haemorrhage on head CT, profile {p.profile}",
            "Link": p.report.links.model or UNSTATED,
            "Indexing": {"Content": ["CT", "NR", "ER"], "Keywords": list(KEYWORDS)},
            "Descriptors": {
                "License": {"Text": "Software: Apache-2.0. Of trained weights the authors must state it."},
                "References": [METHOD],
                "Comments": _unstated("Authors, Contact, Organizations, Funding, Ethical review", p.report.links.model),
            },
            "Model properties": {
                "Architecture": f"Convolutional neural networks ({', '.join(p.architectures)}; picture sizes in pixels: {sizes}), "
                f"global pooling, one sigmoid a label. Combined: {of['combiner']} of {', '.join(of['members'])}. "
                f"Case score: {of['case_score']}.",
                "Input": f"One unenhanced axial head CT series of a study, DICOM, in Hounsfield units; windows {windows}.",
                "Output": {
                    "Description": f"Probabilities of “{of['any']}” and of {', '.join(of['subtypes'])}, by slice; case scores, which are "
                    "no calibrated probabilities; a case decision; attention maps; nearest training examples. No answer for scans "
                    "that are unlike those of training."
                },
                "Decision threshold": f"Case score of “{of['any']}” ≥ {of['threshold']} ({of['point']} point, chosen {of['chosen_on']}).",
                "Degree of automation": "A second look that shows its reasons; it decides nothing and files nothing.",
                "Indications for use": "None. Research on adults' unenhanced head CT.",
                "Instructions": "README.md and docs/ of the software.",
                "Limitations": " ".join(limits),
                "Regulatory information": {"Authorization status": "None. Research software, not a medical device."},
                "Reproducibility": f"Seed {p.seed}. `make repro` rebuilds data graph, weights and figures; equal bytes on the kind of "
                "processor where the run was recorded.",
                "Use": {
                    "Intended": ["Detection", "Research"],
                    "Out-of-scope": ["Clinical decisions", "Contrast studies", "Children", "Other findings"],
                },
                "User": {"Intended": ["Researcher"]},
            },
            "Imaging": _imaging(of),
            "Model performance": {"Metrics": list(METRICS), "Comments": " ".join(map(_performance, of["tests"]))},
        },
    }
    check_card(card, "model")
    return card


def dataset_card(of: Mapping[str, Any]) -> dict[str, Any]:
    """The dataset card: how the cohorts are made of the data and what is in each.

    Args:
        of: :func:`ich_pipeline.papers.facts.facts`.
    """
    p = of["p"]
    kind = "synthetic heads" if of["synthetic"] else f"cohort {of['origin'].cohort}"
    card = {
        "$schema": "https://atlas.rsna.org/schema/2025-11/dataset.json",
        "Dataset": {
            "Name": f"Head CT, {kind}, {of['patients']} patients",
            "Link": p.report.links.dataset or UNSTATED,
            "Indexing": {"Content": ["CT", "NR", "ER"], "Keywords": list(KEYWORDS[:3])},
            "Descriptors": {
                "References": [METHOD],
                "Comments": _unstated(
                    "Authors, Contact, Organizations, Funding, Ethical review, License, Confidentiality, Sensitive data",
                    p.report.links.dataset,
                ),
            },
            "Dataset properties": {
                "Motivation": "Training and testing a detector of acute intracranial haemorrhage on few patients.",
                "Sampling": f"{of['files']} files were given; {of['used']} are used. Left out: {_counts(of['left_out']) or 'none'}.",
                "Partitioning scheme": _partitioning(of),
                "Relationships between instances": "Slices belong to a series, a series to a case (study), a case to a patient; patients "
                "whose scans show one head count as one.",
                "Missing information": "Labels: a slice carries every subtype that is visible in it. Ages and sexes are not given where a "
                f"group would have fewer than {p.evaluation.subgroups.minimum_patients} patients.",
                "Noise": "work/validate/index.html says what the checks of the data found.",
                "Re-identification": "Nobody: the heads are synthetic."
                if of["synthetic"]
                else f"The card holds counts alone; ages above {OLDEST} count as {OLDEST}. Of the images the authors must state it.",
            },
            "Imaging": _imaging(of),
            "Partitions": [_partition(of, one) for one in of["cohorts"].values()],
        },
    }
    check_card(card, "dataset")
    return card


def _unstated(fields: str, link: str | None) -> str:
    return f"Authors must state: {fields if link else f'Link, {fields}'}."


def _imaging(of: Mapping[str, Any]) -> dict[str, Any]:
    pictures = ", ".join(f"{rows} × {columns}" for rows, columns in of["origin"].pictures)
    return {
        "Modalities": ["Computed tomography (RID10321)"],
        "Procedures": [{"Name": "CT Head WO contrast", "LOINC": "30799-1"}],
        "File format": ["DICOM"],
        "Resolution": f"{pictures} pixels as scanned; resized to {', '.join(map(str, of['p'].windowing.sizes))} for the networks.",
        "Comments": f"Scanners: {', '.join(of['manufacturers']) or 'unknown'}. Slice thickness: {of['thickness'] or 'unknown'}.",
    }


def _performance(test: Mapping[str, Any]) -> str:
    return (
        f"{test['name']} ({test['cases']} cases), by case: area under the ROC curve {test['auc']}, sensitivity {test['sensitivity']}, "
        f"specificity {test['specificity']}, positive predictive value {test['ppv']}, negative predictive value {test['npv']}, "
        f"F1 {test['f1']}; by slice: mean average precision of the subtypes {test['map']}, Brier score {test['brier']}, "
        f"expected calibration error {test['ece']}."
    )


def _partitioning(of: Mapping[str, Any]) -> str:
    split, frozen = of["p"].split, of["frozen"]
    tuning = f"Tuning: {100 * split.validation:g} %. The rest trains. Patients in no partition: {of['in_no_cohort']}."
    if not frozen:
        return (
            f"By patient. Prospective test: the latest {100 * split.prospective.patients:g} % of the patients by StudyDate. "
            f"Retrospective test: {100 * split.retrospective.patients:g} % drawn at random. {tuning}"
        )
    return (
        f"By patient. Frozen tests ({frozen['tests']}): they gain nobody, and their patients' later studies are in no partition. Of new "
        f"patients after the frozen prospective test {frozen['share']:g} % wait for the next one, in no partition. {tuning}"
    )


def _partition(of: Mapping[str, Any], cohort: Cohort) -> dict[str, Any]:
    total: dict[str, Any] = {
        "Patient count": cohort.patients,
        "Exam count": cohort.cases,
        "Image count": cohort.slices,
    }
    if cohort.ages:
        total["Age range"] = [[age, "years"] for age in cohort.ages]
        if cohort.ages[1] == OLDEST:
            total["Comments"] = f"Whoever is older counts as {OLDEST} years."
    subsets: list[dict[str, Any]] = [{"Sex": sex, "Patient count": n} for sex, n in cohort.sexes.items()]
    if cohort.positives is not None:
        subsets.append({"Criterion": f"Any haemorrhage (“{of['any']}”)", "Exam count": cohort.positives})
    return {
        "Partition": PARTITIONS[cohort.name],
        "Total": total,
        **({"Subsets": subsets} if subsets else {}),
        "Comments": f"Named {cohort.name} in the software. No patient is in another partition.",
    }


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in found.items())
