"""The test ledger in a real store: appended, counted, chained, shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import ledger as page
from ich_pipeline.config import Params
from ich_pipeline.core.files import sha256_of
from ich_pipeline.registry import ledger, store


@pytest.fixture(autouse=True)
def in_project(project: Path) -> None:
    """All tests here run in the empty project."""


def test_looks_are_counted_by_test_set_and_content() -> None:
    for test, labels, model, results in (
        ("a", "l1", "m1", "r1"), ("b", "l2", "m1", "r2"), ("a", "l1", "m1", "r1"), ("a", "l1", "m2", "r3"), ("a", "l3", "m2", "r4"),
    ):  # fmt: skip
        ledger.record_look(test, labels, model, results)
    found = ledger.looks()
    assert [look.number for look in found] == [1, 2, 3, 4, 5] and ledger.broken_at(found) is None
    assert ledger.counts(found) == [
        ledger.Count("a", "l1", 3, 2, 2), ledger.Count("b", "l2", 1, 1, 1), ledger.Count("a", "l3", 1, 1, 1),
    ]  # fmt: skip
    assert ledger.counts(found)[0].sentence == "a: this test set has been looked at 3 times, with 2 different models."
    assert ledger.counts(found)[1].sentence == "b: this test set has been looked at once, with one model."


def test_a_look_in_the_bin_still_counts_and_one_that_was_changed_or_lost_is_noticed() -> None:
    before = len(ledger.looks())
    for i in range(3):
        ledger.record_look("c", "l", f"m{i}", "r")
    client = store.client()
    experiment = client.get_experiment_by_name(ledger.EXPERIMENT)
    assert experiment is not None
    runs = sorted(
        client.search_runs([experiment.experiment_id]), key=lambda run: int(run.data.tags[f"{ledger.PREFIX}number"])
    )
    client.delete_run(runs[-2].info.run_id)
    found = ledger.looks()
    assert len(found) == before + 3 and ledger.broken_at(found) is None
    assert ledger.broken_at([look for look in found if look.number != before + 2]) == before + 2
    client.restore_run(runs[-2].info.run_id)
    client.set_tag(runs[-2].info.run_id, f"{ledger.PREFIX}model", "another")
    assert ledger.broken_at(ledger.looks()) == before + 2
    client.set_tag(runs[-2].info.run_id, f"{ledger.PREFIX}digest", ledger.looks()[-2].digest)
    assert ledger.broken_at(ledger.looks()) == before + 3  # its successor names what it was
    client.set_tag(runs[-2].info.run_id, f"{ledger.PREFIX}digest", found[-2].digest)
    client.set_tag(runs[-2].info.run_id, f"{ledger.PREFIX}model", "m1")


def test_the_model_is_networks_heads_and_ensemble_alone(tmp_path: Path) -> None:
    for name, text in (("a/network.json", "1"), ("a/model.weights.h5", "2"), ("ensemble.json", "3")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = ledger.digest_of_files(tmp_path, tmp_path / "ensemble.json", ["a"])
    files = {f"networks/a/{n}": sha256_of(tmp_path / "a" / n) for n in ("network.json", "model.weights.h5")}
    whole = {
        **files,
        "ensemble.json": sha256_of(tmp_path / "ensemble.json"),
        "atlas/atlas.npz": "x",
        "system.json": "y",
    }
    assert ledger.model_digest(whole) == found
    for name in ("head.json", "head.weights.h5"):
        (tmp_path / "sequence" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sequence" / "a" / name).write_text(name)
    head = {f"sequence/a/{n}": sha256_of(tmp_path / "sequence/a" / n) for n in ("head.json", "head.weights.h5")}
    with_head = ledger.digest_of_files(tmp_path, tmp_path / "ensemble.json", ["a"], [tmp_path / "sequence" / "a"])
    assert ledger.model_digest({**whole, **head}) == with_head != found
    (tmp_path / "ensemble.json").write_text("4")
    assert ledger.digest_of_files(tmp_path, tmp_path / "ensemble.json", ["a"]) != found


def test_the_page_and_the_sentences_are_of_the_present_labels(params: Params) -> None:
    test = params.tests[0]
    sealed = Path("work/split/sealed") / f"{test}.csv"
    sealed.parent.mkdir(parents=True, exist_ok=True)
    sealed.write_text("labels")
    ledger.record_look(test, "of other labels", "m", "r")
    for _ in range(2):
        ledger.record_look(test, sha256_of(sealed), "m", "r")
    (sentence,) = page.publish(params)
    assert sentence == f"{test}: this test set has been looked at 2 times, with one model."
    text = page.PAGE.read_text()
    assert "earlier labels" in text and "not registered" in text
    assert text.count("<tr>") == 2 + len(ledger.counts(ledger.looks())) + len(ledger.looks())
