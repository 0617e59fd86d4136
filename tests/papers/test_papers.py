"""The papers of a small run: complete, filled or said to be the authors', valid, of equal bytes, free of identifiers."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from ich_pipeline.core.yaml_text import read_yaml
from ich_pipeline.papers import cards
from ich_pipeline.papers.cards import TABLES, UNSTATED, check_card, dataset_card, model_card
from ich_pipeline.papers.facts import OLDEST, facts
from ich_pipeline.papers.fill import CHECKLISTS, NAMES, checklist, templates_of_papers, write_papers
from ich_pipeline.splits.frozen import FrozenTest, Manifest, write_manifest
from ich_pipeline.tables.cohort_names import TESTS
from tests.report.conftest import PLANTED

TEMPLATES = templates_of_papers()


@pytest.fixture(scope="module")
def papers(inputs, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("papers")
    write_papers(inputs, target)
    return target


@pytest.fixture(scope="module")
def of(inputs) -> dict:
    return facts(inputs)


def rows_of(text: str) -> list[list[str]]:
    """The cells of a checklist's rows."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_everything_is_there_and_has_equal_bytes(papers, inputs, tmp_path):
    assert {path.name for path in papers.iterdir()} == set(NAMES)
    write_papers(inputs, tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (papers / name).read_bytes(), name


def test_no_identifier_is_in_them(papers, inputs):
    planted = {PLANTED, *inputs.slices["SOPInstanceUID"].head(3), "C0", "P0", "1.2.0.0"}
    for path in papers.iterdir():
        words = set(re.findall(r"[\w.\-]+", path.read_text(encoding="utf-8")))
        assert not words & planted, path.name


@pytest.mark.parametrize(("name", "items", "rows"), [("claim_2024", 44, 44), ("stard_ai", 40, 48)])
def test_a_checklist_has_every_item_once_in_order(papers, name, items, rows):
    text = (papers / f"{name}.md").read_text(encoding="utf-8")
    found = rows_of(text)
    assert len(found) == rows and all(len(row) == 5 for row in found)
    numbers = [int(row[0].rstrip("abcd")) for row in found]
    assert sorted(set(numbers)) == list(range(1, items + 1)) and numbers == sorted(numbers)
    assert len({row[0] for row in found}) == rows
    for row in found:
        assert (row[3], row[4]) != ("–", "–"), f"item {row[0]} says neither"
    full = sum(row[3] != "–" and row[4] == "–" for row in found)
    half = sum(row[3] != "–" and row[4] != "–" for row in found)
    assert text.splitlines()[2].startswith(f"{full} of {rows} items")
    assert f"{half} in part; {rows - full - half} the authors must state" in text
    assert f"\n{100 * (full + half) / rows:.0f} %." in text
    assert "doi 10." in text and "{{" not in text and "{%" not in text


@pytest.mark.parametrize("name", CHECKLISTS)
def test_a_table_says_no_more_than_is_read(name):
    """A comma that nobody quoted makes a key of half a sentence."""
    for row in read_yaml((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))["items"]:
        assert {"item", "section", "asks"} <= set(row) <= {"item", "section", "asks", "says", "authors"}, row


def test_the_parts_of_stard_ai_are_the_published_ones():
    items = [row["item"] for row in read_yaml((TABLES / "stard_ai.yaml").read_text())["items"]]
    assert [one for one in items if not one.isdigit()] == (
        ["15a", "15b", "15c", "15d", "16a", "16b", "16c", "17a", "17b", "26a", "26b", "40a", "40b"]
    )


@pytest.mark.parametrize("name", CHECKLISTS)
def test_of_patients_less_is_known_than_of_synthetic_heads(of, name):
    """What the software drew it can vouch for; where the labels of patients are from, only people know."""
    synthetic = rows_of(checklist(name, of, TEMPLATES))
    patients = rows_of(checklist(name, {**of, "synthetic": False}, TEMPLATES))
    stated = [sum(row[4] == "–" for row in rows) for rows in (synthetic, patients)]
    assert stated[1] < stated[0]
    reference = {"claim_2024": ("15", "16"), "stard_ai": ("12", "16a")}[name]
    assert all(row[3] == "–" and row[4] != "–" for row in patients if row[0] in reference)
    assert not any("ynthetic" in row[3] for row in patients)


@pytest.mark.parametrize(
    ("name", "synthetic", "counts"),
    [
        ("claim_2024", True, (29, 7, 8)),
        ("claim_2024", False, (19, 11, 14)),
        ("stard_ai", True, (31, 8, 9)),
        ("stard_ai", False, (10, 19, 19)),
    ],
)
def test_the_counts_of_the_docs_are_those_of_this_run(of, name, synthetic, counts):
    rows = rows_of(checklist(name, {**of, "synthetic": synthetic}, TEMPLATES))
    kinds = [(row[3] != "–", row[4] != "–") for row in rows]
    assert tuple(map(kinds.count, ((True, False), (True, True), (False, True)))) == counts
    title = f"{'CLAIM 2024' if name == 'claim_2024' else 'STARD-AI'}, {'synthetic heads' if synthetic else 'patients'}"
    docs = (Path(__file__).parents[2] / "docs" / "papers.md").read_text(encoding="utf-8")
    assert f"| {title} | {' | '.join(map(str, counts))} |" in docs


def test_of_frozen_tests_the_papers_say_that_they_are_frozen(papers, inputs, tmp_path):
    """No share of a draw that is made no more, and nobody redraws what is frozen; who waits is counted."""
    drawn = "\n".join((papers / name).read_text(encoding="utf-8") for name in NAMES)
    assert (
        "are frozen (test" not in drawn
        and "Frozen tests" not in drawn
        and "not yet**\n(`ich tests freeze`): new patients redraw the cohorts" in drawn
    )
    assert "0 patients in no cohort" in drawn and "Patients in no partition: 0." in drawn
    tests = tuple(FrozenTest(name, 2, "2026-01-31", "0" * 64, (), ()) for name in TESTS)
    gone = FrozenTest(TESTS[0], 1, "2025-01-31", "0" * 64, (), (), retired="2026-01-31")
    write_manifest(Manifest("key", 70, 0.25, (), (gone, *tests)), tmp_path / "frozen.json")
    kept = replace(inputs, folders=replace(inputs.folders, frozen=tmp_path / "frozen.json"))
    one_waits = inputs.series[inputs.series["chosen"]].iloc[[0]].assign(case_id="C99", patient_key="P99")
    vars(kept)["series"] = pd.concat([inputs.series, one_waits])
    write_papers(kept, tmp_path)
    called = ", ".join(f"{name} version 2 of 2026-01-31" for name in TESTS)
    for name, said in (
        ("dataset_card.json", f"Frozen tests ({called}): they gain nobody"),
        ("dataset_card.json", "25 % wait for the next one, in no partition"),
        ("dataset_card.json", "Patients in no partition: 1."),
        ("claim_2024.md", f"holds the studies that were frozen as such ({called}): later in time"),
        ("claim_2024.md", f"; 1 patients in no cohort. Both tests were drawn once and are frozen ({called})"),
        ("stard_ai.md", f"is the studies that were frozen as such ({called})."),
        (
            "pccp.md",
            "25 % of the new patients after the prospective one wait for the next, which opens with 70 of them",
        ),
        ("pccp.md", "1 of 7 patients in no cohort"),
        ("pccp.md", "**The tests are frozen**"),
    ):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert said in text and "redraw" not in text and "latest" not in text.replace(":latest", ""), (name, said)


def test_a_file_of_weights_is_named_without_its_folder(of):
    p = of["p"]
    networks = {
        **p.networks,
        "vgg16": p.networks["vgg16"].model_copy(update={"weights": "/home/someone/own.weights.h5"}),
    }
    rows = rows_of(checklist("claim_2024", {**of, "p": p.model_copy(update={"networks": networks})}, TEMPLATES))
    (said,) = [row[3] for row in rows if row[0] == "24"]
    assert "vgg16: own.weights.h5" in said and "someone" not in said


def test_the_change_plan_says_from_how_many_new_patients_on(of):
    plan = TEMPLATES.get_template("pccp.md.j2")
    retrain = of["p"].retrain.model_copy(update={"minimum_new_patients": 25})
    assert "| where `data/` changed |" in plan.render(of)
    changed = plan.render({**of, "p": of["p"].model_copy(update={"retrain": retrain})})
    assert "| where `data/` changed by 25 new patients or more |" in changed


def test_a_checklist_is_filled_from_the_run(papers, inputs):
    text = (papers / "claim_2024.md").read_text(encoding="utf-8")
    threshold = f"{inputs.ensemble.decision_threshold:.4f}"
    assert f"from a case score of {threshold} on".lower() in (papers / "stard_ai.md").read_text().lower()
    (counts,) = [row[3] for row in rows_of(text) if row[0] == "19"]
    assert "train 6 patients, 30 slices; test_retrospective 6 patients, 30 slices" in counts
    (metric,) = [row[3] for row in rows_of(text) if row[0] == "38"]
    assert len(re.findall(r"sensitivity \d\.\d{3} \(", metric)) == len(inputs.tests)
    (table,) = [row[3] for row in rows_of(text) if row[0] == "39"]
    counted = [int(n) for n in re.findall(r"(?:positive|negative) (\d+)", table)]
    assert len(counted) == 8 and sum(counted[:4]) == len(inputs.tests[0].cases)


def test_cells_stay_in_their_row(of):
    odd = {**of, "manufacturers": ["A|B\nC"]}
    row = next(row for row in rows_of(checklist("claim_2024", odd, TEMPLATES)) if row[0] == "13")
    assert "A\\|B C" in row[3] and len(row) == 5


def test_cards_hold_to_the_fields_of_atlas(papers):
    kinds: tuple[tuple[Literal["model", "dataset"], str], ...] = (("model", "Model"), ("dataset", "Dataset"))
    for kind, key in kinds:
        card = json.loads((papers / f"{kind}_card.json").read_text(encoding="utf-8"))
        check_card(card, kind)
        assert card["$schema"].endswith(f"/2025-11/{kind}.json") and set(card) == {"$schema", key}
        assert card[key]["Link"] == UNSTATED and "Authors must state: Link, " in card[key]["Descriptors"]["Comments"]
        for broken in (
            {**card, "more": 1},
            {key: card[key]},
            {**card, key: {**card[key], "Name": "abc"}},
            {**card, key: {**card[key], "Link": "nowhere"}},
            {**card, key: {**card[key], "Imaging": {"Modalities": ["CT"]}}},
        ):
            with pytest.raises(ValueError, match=f"ATLAS {kind} card"):
                check_card(broken, kind)


@pytest.mark.skipif(
    "ICH_ATLAS_SCHEMAS" not in os.environ, reason="no folder with RSNA's own model.json and dataset.json"
)
@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_cards_hold_to_the_published_schemas(papers, kind):
    schema = json.loads((Path(os.environ["ICH_ATLAS_SCHEMAS"]) / f"{kind}.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads((papers / f"{kind}_card.json").read_text(encoding="utf-8")))


def test_the_rules_for_cards_are_themselves_a_schema():
    rules = read_yaml((TABLES / "atlas.yaml").read_text(encoding="utf-8"))
    for kind in ("model", "dataset"):
        Draft202012Validator.check_schema({"$defs": rules["$defs"], **rules[kind]})


def test_links_of_params_are_the_links_of_the_cards(of):
    links = of["p"].report.links.model_copy(update={"model": "https://a.org/m", "dataset": "https://a.org/d"})
    stated = {**of, "p": of["p"].model_copy(update={"report": of["p"].report.model_copy(update={"links": links})})}
    assert model_card(stated)["Model"]["Link"] == "https://a.org/m"
    card = dataset_card(stated)["Dataset"]
    assert card["Link"] == "https://a.org/d" and "Link" not in card["Descriptors"]["Comments"]


def test_a_cohort_is_counted_and_few_are_not_described(of, papers):
    card = json.loads((papers / "dataset_card.json").read_text(encoding="utf-8"))["Dataset"]
    train, test = card["Partitions"]
    assert (train["Partition"], test["Partition"]) == ("Training", "Internal testing")
    assert train["Total"] == {"Patient count": 6, "Exam count": 6, "Image count": 30}, "one age is nobody's business"
    assert test["Total"]["Age range"] == [[50, "years"], [50, "years"]]
    assert [subset["Exam count"] for subset in test["Subsets"]] == [3] and "Sex" not in str(test)
    cohort = replace(of["cohorts"]["train"], ages=(18, OLDEST), sexes={"Female": 7, "Male": 9})
    shown = cards._partition(of, cohort)
    assert shown["Total"]["Comments"] == "Whoever is older counts as 90 years."
    assert shown["Subsets"][:2] == [{"Sex": "Female", "Patient count": 7}, {"Sex": "Male", "Patient count": 9}]


def test_the_change_plan_has_its_parts_and_the_gates_settings(papers, params):
    text = (papers / "pccp.md").read_text(encoding="utf-8")
    parts = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert parts == [
        "1. Description of modifications",
        "2. Modification protocol",
        "3. Impact assessment",
        "Authors must state",
    ]
    gate = params.gate
    for said in (
        f"above −{gate.margins.auc} (one-sided α {gate.alpha}; bootstrap by patient, {gate.bootstrap} replicates",
        f"at most {gate.margins.brier} and {gate.margins.ece}",
        f"AUC at least {gate.subgroups.auc} in each with {gate.subgroups.minimum_patients}",
        f"at least {gate.floors.auc}, {gate.floors.sensitivity}, {gate.floors.specificity}",
        f"`retrain.cron` {params.retrain.cron}",
        "not a medical device",
    ):
        assert said in text, said
    for modification in ("M1", "M2", "M3", "M4"):
        assert len(re.findall(rf"^\| {modification} \|", text, flags=re.MULTILINE)) == 2, "described, and its impact"


def test_the_change_plan_follows_the_settings(of):
    margins = of["p"].gate.margins.model_copy(update={"auc": 0.0123})
    gate = of["p"].gate.model_copy(update={"margins": margins})
    changed = {**of, "p": of["p"].model_copy(update={"gate": gate})}
    assert "above −0.0123" in TEMPLATES.get_template("pccp.md.j2").render(changed)
