"""Promotion in a real store: what the gate lets pass, the log, the way back, what may be removed."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.config import Params
from ich_pipeline.gate.scores import CaseScores
from ich_pipeline.registry import history, promotion, store, tested, versions
from ich_pipeline.registry.history import Entry
from ich_pipeline.registry.register import register
from ich_pipeline.serving.content import content_of, seal
from tests.made.gate_cases import good_scores


def ich(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "240", "ICH_PERSON": "anna"})
    return done.exit_code, done.stdout, done.stderr


def registered_anew(bundle: Path, params: Params, folder: Path, shown: int, scores: CaseScores) -> int:
    """A version of another content (``explain.findings_shown``)."""
    if not folder.exists():
        shutil.copytree(bundle, folder)
        about = json.loads((folder / "system.json").read_text())
        about["explain"]["findings_shown"] = shown
        (folder / "system.json").write_text(json.dumps(about))
        seal(folder)
    return register(folder, content_of(folder), params, {"test_prospective auc case any": 0.9}, "", scores=[scores])[0]


def champion(params: Params) -> int:
    return versions.live(params.registry.model_name).number


def lines() -> list[str]:
    return history.place().read_text().splitlines()


def test_the_first_model_is_promoted_where_it_reaches_the_floors(registered: int, params: Params) -> None:
    status, out, err = ich("promote", "--check")
    assert status == 0 and "sensitivity: not worse. Sensitivity 0." in out and out.endswith("Verdict: not worse.\n"), (
        err
    )
    assert not history.place().exists(), "--check only says"
    assert ich("history") == (0, f"{history.place()} has no entry yet: `ich promote` writes one.\n", "")
    status, out, err = ich("promote")
    assert status == 0 and out.startswith(
        "champion of ich-ensemble is now version 1; before there was none. Gate: not worse"
    )
    (entry,) = history.read().entries
    assert (entry.what, entry.version, entry.previous, entry.person) == ("promote", 1, None, "anna")
    assert entry.content == versions.live(params.registry.model_name).content
    assert entry.gate is not None and entry.gate["verdict"] == "not worse" and entry.gate["test_set"] == "a" * 64
    assert abs((datetime.now(UTC) - history.moment(entry.when)).total_seconds()) < 600
    assert stat.S_IMODE(history.place().stat().st_mode) == 0o600
    assert ich("promote")[1] == "champion of ich-ensemble is version 1 already; nothing moved.\n" and len(lines()) == 1


def test_a_worse_one_is_refused_but_for_a_reason_and_rolled_back(
    registered: int, bundle: Path, params: Params, tmp_path: Path
) -> None:
    assert registered_anew(bundle, params, tmp_path / "b" / "bundle", 1, good_scores(0.75)) == 2
    status, out, err = ich("promote")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(
        "ich: the gate refuses version 2 of ich-ensemble: worse on test_prospective: AUC of the cases 0.808"
    )
    assert champion(params) == 1 and len(lines()) == 1
    status, _, err = ich("promote", "--override")
    assert status == 2 and "--override needs --reason TEXT" in err
    status, out, _ = ich("promote", "--override", "--reason", "a new scanner, no other model reads it")
    assert status == 0 and "moved from version 1 to version 2" in out and "Gate: worse" in out
    assert champion(params) == 2
    status, out, _ = ich("rollback", "--reason", "misses subdurals")
    assert status == 0 and out == "champion of ich-ensemble moved from version 2 to version 1.\n"
    assert champion(params) == 1
    status, _, err = ich("rollback")
    assert status == 2 and "no earlier champion" in err
    status, out, err = ich("history")
    assert (status, err) == (0, "")
    first, second, third = out.splitlines()
    assert "override  ich-ensemble version 2 (before version 1)  by anna  gate: worse  reason: a new scanner" in second
    assert "promote  ich-ensemble version 1 (before none)" in first and "rollback  ich-ensemble version 1" in third


def test_another_test_is_refused_and_the_newest_scores_of_a_content_count(
    registered: int, bundle: Path, params: Params, tmp_path: Path
) -> None:
    other = replace(good_scores(0.999), test_set="b" * 64)
    assert registered_anew(bundle, params, tmp_path / "c" / "bundle", 2, other) == 3
    out = ich("models")[1]
    assert "0.9000*" in out and "* Of other test cases than version 1's" in out
    status, _, err = ich("promote")
    assert status == 2 and "cannot decide on test_prospective: the two were not tested on the same cases" in err
    assert registered_anew(bundle, params, tmp_path / "c" / "bundle", 2, good_scores(0.999)) == 3
    assert "0.9000" in ich("models")[1] and "0.9000*" not in ich("models")[1]
    (found, _) = versions.candidate(params.registry.model_name)
    assert found.tests == {"test_prospective": "a" * 64}
    judged = promotion.judged(params, note=True)
    assert judged.verdict == "better", judged.sentence
    tags = store.client().get_model_version(found.name, "3").tags
    assert tags[promotion.GATE] == "better (champion version 1, test_prospective)"


def test_scores_that_are_gone_or_changed_decide_nothing(registered: int, params: Params) -> None:
    (version, _) = versions.candidate(params.registry.model_name)
    run = store.client().get_model_version(version.name, str(version.number)).run_id
    (kept,) = Path("mlruns").rglob(f"{run}/artifacts/{tested.FOLDER}/test_prospective.json")
    before = kept.read_text()
    kept.write_text(before.replace("true", "false", 1))
    assert "what is kept of them was changed" in promotion.judged(params).sentence
    kept.unlink()
    found = promotion.judged(params)
    assert found.verdict == "cannot decide" and "they are gone" in found.sentence
    kept.write_text(before)
    assert promotion.judged(params).verdict == "better"


def test_a_changed_removed_or_added_line_is_named(registered: int) -> None:
    good = lines()
    for changed, said in (
        ([good[0], good[1].replace("a new scanner", "an old scanner"), good[2]], "line 2 was changed"),
        ([good[0], good[2]], "line 2 does not follow the line before it"),
        ([good[0], good[0], *good[1:]], "line 2 does not follow"),
        ([good[0], "{}", *good[1:]], "line 2 is no entry"),
        (good[:2], "lacks entry 3, which the registry knows"),
    ):
        history.place().write_text("\n".join(changed) + "\n")
        status, _, err = ich("history")
        assert status == 1 and said in err, err
    # The way back stays open, and says it.
    history.place().write_text("\n".join([good[0], good[1].replace("new", "old"), good[2]]) + "\n")
    status, out, _ = ich("promote")
    assert (
        status == 0
        and "moved from version 1 to version 3" in out
        and "Caution: mlruns/promotions.jsonl: line 2 was changed." in out
    )
    added = json.loads(lines()[3])
    assert (added["number"], added["before"]) == (4, json.loads(good[2])["digest"])
    history.place().write_text("\n".join([*good, lines()[3]]) + "\n")
    assert ich("history")[0] == 0


def test_a_lost_end_stays_to_be_seen_and_nothing_is_removed_then(registered: int, params: Params) -> None:
    whole, name = history.place().read_bytes(), params.registry.model_name
    known = store.client().get_registered_model(name).tags[history.LAST]
    history.place().write_text(lines()[0] + "\n")
    status, _, err = ich("models", "prune", "--days", "0", "--newest", "1", "--yes")
    assert status == 2 and "nothing was removed" in err and "lacks entry 4" in err
    history.append(Entry(0, "prune", name, None, "", None, "anna", history.now()))
    assert ich("history")[0] == 1 and "line 2 does not follow" in history.read().fault
    history.place().unlink()
    status, _, err = ich("models", "prune", "--yes")
    assert status == 2 and "nothing was removed" in err
    history.place().write_bytes(whole)
    store.client().set_registered_model_tag(name, history.LAST, known)
    assert ich("history")[0] == 0


def test_a_line_that_a_kill_cut_off_does_not_count(registered: int, params: Params) -> None:
    whole = history.place().read_bytes()
    history.place().write_bytes(whole + whole[:100])
    assert ich("history")[0] == 0 and len(history.read().entries) == 4
    assert ich("rollback")[0] == 0 and champion(params) == 1
    assert history.place().read_bytes().startswith(whole) and len(lines()) == 5
    assert promotion.judged(params, 1, note=True).passes, "the champion itself is held to the floors"
    tags = store.client().get_model_version(params.registry.model_name, "1").tags
    assert tags[promotion.GATE] == "not worse (the floors, test_prospective)"
    assert ich("history")[0] == 0


def test_who_moves_the_alias_past_the_log_is_noticed(registered: int, params: Params) -> None:
    client, name = store.client(), params.registry.model_name
    client.set_registered_model_alias(name, versions.CHAMPION, "2")
    status, _, err = ich("history")
    assert status == 0 and "MLflow's champion is version 2, the log's 1: it was moved past `ich`" in err
    client.set_registered_model_alias(name, versions.CHAMPION, "1")


def test_which_version_answered(registered: int) -> None:
    today = datetime.now(UTC).date().isoformat()
    status, out, _ = ich("history", "--at", today)
    assert status == 0 and out.count("version") == 5 and ", then version 2 (since " in out
    assert "had no champion that the log knows of" in ich("history", "--at", "2020-05-03")[1]
    for wrong, said in (("May 3", "is no date"), ("2999-01-01", "is yet to come")):
        status, _, err = ich("history", "--at", wrong)
        assert status == 2 and said in err


def test_old_versions_are_removed_and_what_is_needed_stays(
    registered: int, bundle: Path, params: Params, tmp_path: Path
) -> None:
    name = params.registry.model_name
    assert ich("promote")[0] == 0 and champion(params) == 3
    registered_anew(bundle, params, tmp_path / "d" / "bundle", 5, good_scores())
    found = {version.number: version for version in versions.versions(name)}
    folder = versions.model_folder(found[2])
    status, out, _ = ich("models", "prune", "--days", "0", "--newest", "1")
    assert status == 0 and out.splitlines() == [
        "version 4 stays: challenger",
        "version 3 stays: champion",
        "version 1 stays: a rollback goes back to it",
        "version 2 would be removed",
        "Nothing was removed: `ich models prune --yes` removes them, with their files and for good.",
    ]
    assert "version 2 stays: champion within 365 days" in ich("models", "prune", "--newest", "1")[1]
    assert folder.is_dir() and len(lines()) == 6
    elsewhere = tmp_path / "copied"
    shutil.copytree("mlruns", elsewhere / "mlruns")
    shutil.copy("params.yaml", elsewhere)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        status, _, err = ich("models", "prune", "--days", "0", "--newest", "1", "--yes")
    assert status == 2 and "outside this project's mlruns/" in err and folder.is_dir(), err
    status, out, _ = ich("models", "prune", "--days", "0", "--newest", "1", "--yes")
    assert status == 0 and "version 2 was removed" in out
    assert not folder.exists() and [v.number for v in versions.versions(name)] == [4, 3, 1]
    assert ich("history")[1].splitlines()[-1].endswith("prune  ich-ensemble removed version 2  by anna")
    assert ich("models", "prune", "--days", "0", "--newest", "1", "--yes")[1].endswith("Nothing to remove.\n")
    assert ich("rollback")[0] == 0 and champion(params) == 1


def entries(*moves: tuple[str, int | None, int | None]) -> list[Entry]:
    return [
        Entry(k, what, "m", version, "", previous, "", f"2026-05-{k:02d}T12:00:00+00:00")  # type: ignore[arg-type]
        for k, (what, version, previous) in enumerate(moves, start=1)
    ]


def test_the_way_back_leads_to_ever_earlier_champions() -> None:
    made = entries(("promote", 2, 1), ("promote", 3, 2), ("override", 4, 3), ("override", 4, 3))
    assert history.champion_before(made, "m") == 3 and history.champion_before(made, "other") is None
    made += entries(("rollback", 3, 4))
    assert history.champion_before(made, "m") == 2
    made += entries(("prune", None, 3), ("rollback", 2, 3))
    assert history.champion_before(made, "m") == 1
    made += entries(("rollback", 1, 2))
    assert history.champion_before(made, "m") is None
    assert history.champion_before([*made, *entries(("promote", 5, 1))], "m") == 1


def test_the_way_back_knows_what_never_came_and_what_came_past_the_log() -> None:
    stopped = entries(("promote", 1, None), ("promote", 2, 1), ("promote", 3, 1))  # 2 was logged and never came
    assert history.champion_before(stopped, "m") == 1
    past = entries(("promote", 1, None), ("promote", 2, 1), ("promote", 4, 3))  # 3 came past the log
    assert history.champion_before(past, "m") == 3
    assert history.champion_before(past[:2], "m", present=3) == 2
    assert history.champion_before(past[:2], "m", present=1) is None
    assert [p.version for p in history.periods(past, "m")] == [1, 2, 3, 4]


def test_champions_have_their_times() -> None:
    found = history.periods(entries(("promote", 2, 1), ("prune", None, 2), ("rollback", 1, 2)), "m")
    assert [(p.version, p.since and p.since.day, p.until and p.until.day) for p in found] == [
        (1, None, 1),
        (2, 1, 3),
        (1, 3, None),
    ]
    day = history.moment("2026-05-02"), history.moment("2026-05-03")
    assert [p.version for p in found if p.overlaps(*day)] == [2]
    assert history.moment("2026-05-02T02:00+02:00") == history.moment("2026-05-02")
