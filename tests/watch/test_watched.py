"""``ich watch`` and ``python -m flows.watch`` on a registered version: page, JSON, alarm, exit status."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import watch as flow
from ich_pipeline.cli.main import app
from ich_pipeline.config import Params, load_params
from ich_pipeline.watch import record
from ich_pipeline.watch.watched import watch
from tests.made.served import line, lines


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


class Markup(HTMLParser):
    """Every element closed, and all addresses that a page would load."""

    void = ("meta", "link", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def keep(found: list[record.Served]) -> None:
    """Put them in the place of what the record holds."""
    record.place().mkdir(parents=True, exist_ok=True)
    for path in record.place().glob("*.jsonl"):
        path.unlink()
    with record.locked():
        record.append(found, record.place() / "2026-01.jsonl")


def like_reference(params: Params, count: int, high: float) -> list[record.Served]:
    """Cases whose scores are those of the made reference (uniform, the larger of two), or ``high`` ones."""
    reference = watch(params, record.Log((), 0)).reference
    labels = params.label_set.columns
    found = []
    for number in range(count):
        scores = {name: float(reference.numbers[f"score {name}"][7 * number % 60]) + high for name in labels}
        suspected = number * reference.shares["suspected"][0] % 60 < reference.shares["suspected"][0]
        outcome = "suspected" if suspected or high else "not suspected"
        found.append(line(number, scores=scores, called=dict.fromkeys(labels, False), outcome=outcome))
    return found


def test_nothing_is_served_yet(registered: int, tmp_path: Path) -> None:
    status, out, err = ich("watch", "--out", tmp_path)
    assert (status, err.splitlines()) == (0, [err.strip()]) and "the first window is complete with 25" in out
    assert "reference has 60 cases" in err
    assert json.loads((tmp_path / "watch.json").read_text())["windows"] == []


def test_stable_cases_are_no_alarm(registered: int, tmp_path: Path) -> None:
    keep(like_reference(load_params(), 130, 0.0))
    status, out, err = ich("watch", "--out", tmp_path)
    assert status == 0, out + err
    assert out.startswith("Nothing moved: ") and "last 100 cases of ich-ensemble version 1" in out
    found = json.loads((tmp_path / "watch.json").read_text())
    assert [one["cases"] for one in found["windows"]] == [25, 100] and not found["alarm"]


def test_an_alarm_says_what_moved_and_what_to_do(registered: int, tmp_path: Path) -> None:
    kept = like_reference(load_params(), 100, 0.5)
    keep(kept)
    with next(record.place().glob("*.jsonl")).open("ab") as file:
        file.write(b'{"schema":"serv')
    status, _, err = ich("watch", "--out", tmp_path)
    assert status == 1
    assert err.startswith(
        "Alarm: of the last 100 cases that ich-ensemble version 1 read (2026-01-01 to 2026-01-05), the case score of "
    )
    assert "median 0." in err and "What to do: ask whether other patients are sent now" in err
    assert "1 lines of mlruns/served could not be read" in err
    page = (tmp_path / "watch.html").read_text()
    markup = Markup()
    markup.feed(page)
    assert markup.open == [] and markup.loaded
    assert all(one.startswith(("data:", "#")) for one in markup.loaded)
    found = json.loads((tmp_path / "watch.json").read_text())
    moved = [one for look in found["windows"] for one in look["findings"] if one["moved"]]
    assert found["alarm"] and page.count("<img") == len(moved) > 0 and all(one["advice"] for one in moved)
    assert not [one for one in kept if one.case in page + json.dumps(found)]


def test_the_flow_says_the_same_without_prefect(registered: int, capsys: pytest.CaptureFixture[str]) -> None:
    keep(like_reference(load_params(), 100, 0.5))
    assert flow.main() == 1
    assert capsys.readouterr().out.startswith("Alarm: of the last 100 cases")
    assert Path("reports/watch.html").is_file()
    keep([])
    assert flow.main() == 0


def test_every_kind_of_measurement_has_its_picture(registered: int) -> None:
    """Numbers, shares and groups, in one page that is drawn from what moved in all of them."""
    from dataclasses import replace

    from ich_pipeline.watch.measurements import of_served

    found = watch(load_params(), record.Log((), 0))
    names = load_params().label_set.columns
    before = of_served(lines(200, 1, labels=names))
    now = [replace(one, manufacturer="Philips") for one in lines(100, 2, shift=3.0, prevalence=0.8, labels=names)]
    from ich_pipeline.watch.compare import look

    looked = look(now, 100, before, found.params)
    assert looked is not None and {"brain_median", "suspected", "manufacturer"} <= {one.name for one in looked.moved}
    page = replace(found, reference=before, looks=(looked,)).page()
    assert page.count("<img") == len(looked.moved)


def test_a_version_of_before_carries_nothing_to_compare_with(
    registered: int, bundle: Path, params: Params, tmp_path: Path
) -> None:
    """Last: it becomes the challenger."""
    import shutil

    from ich_pipeline.registry.register import register
    from ich_pipeline.serving.content import content_of, seal

    shutil.copytree(bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "reference.json").unlink()
    seal(tmp_path / "bundle")
    register(tmp_path / "bundle", content_of(tmp_path / "bundle"), params, {}, "# Card")
    status, _, err = ich("watch", "--out", tmp_path)
    assert status == 2 and "version 2 was registered before served cases were watched" in err and err.count("\n") == 1
