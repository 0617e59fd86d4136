"""The comparison: its statistics against scipy's own, the windows, and what it finds and leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ich_pipeline.config import WatchParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.watch.compare import Finding, compare, level, look
from ich_pipeline.watch.measurements import Measurements, of_served
from tests.made.served import lines, reference

PARAMS = WatchParams(windows=(25, 100), cases_a_year=1000, false_alarms_a_year=0.5)


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {one.name: one for one in found}


def fisher(table: list[list[int]]) -> float:
    found: Any = stats.fisher_exact(table)
    return found.pvalue


def ks(a: Any, b: Any) -> float:
    found: Any = stats.ks_2samp(a, b)
    return found.pvalue


def test_every_p_and_every_correction_is_scipy_s() -> None:
    before, now = reference(), of_served(lines(60, 7, shift=0.5, prevalence=0.4))
    found = compare(before, now, 0.05)
    named = by_name(found)
    assert named["brain_median"].p == ks(before.numbers["brain_median"], now.numbers["brain_median"])
    (a, of_a), (b, of_b) = before.shares["suspected"], now.shares["suspected"]
    assert named["suspected"].p == fisher([[a, of_a - a], [b, of_b - b]])
    p = np.array([one.p for one in found])
    assert np.allclose([one.adjusted for one in found], stats.false_discovery_control(p), rtol=1e-12)
    assert [one.moved for one in found] == [one.adjusted <= 0.05 for one in found]
    assert list(p) == sorted(p)


def test_golden_values_of_the_correction() -> None:
    """Benjamini and Hochberg 1995, section 3.1: of these fifteen, four are named at 0.05."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    from statsmodels.stats.multitest import multipletests

    assert list(multipletests(p, alpha=0.05, method="fdr_bh")[0]) == [True] * 4 + [False] * 11


def test_a_new_group_is_found_and_rare_ones_do_no_harm() -> None:
    before = Measurements({}, {}, {"manufacturer": {"Siemens": 100, "GE": 97, "Philips": 3}}, {})
    (found,) = compare(before, Measurements({}, {}, {"manufacturer": {"Siemens": 12, "Canon": 13}}, {}), 0.01)
    assert found.moved and found.served == "Canon 52 %, Siemens 48 %"
    assert found.p == pytest.approx(4 * fisher([[0, 13], [200, 12]]))
    (found,) = compare(
        before, Measurements({}, {}, {"manufacturer": {"Siemens": 13, "GE": 11, "Philips": 1}}, {}), 0.01
    )
    assert not found.moved


def test_levels_add_up_to_the_false_alarms_of_a_year() -> None:
    spent = [level(window, PARAMS) * PARAMS.cases_a_year / window for window in PARAMS.windows]
    assert sum(spent) == pytest.approx(PARAMS.false_alarms_a_year)
    seldom = PARAMS.model_copy(update={"cases_a_year": 50})
    assert level(100, seldom) == 0.05


@pytest.mark.parametrize(("served", "begin"), [(24, None), (25, 0), (49, 0), (50, 25), (61, 25)])
def test_a_window_is_the_last_complete_one(served: int, begin: int | None) -> None:
    every = lines(served, 1)
    found = look(every, 25, reference(), PARAMS)
    assert (found is None) == (begin is None)
    if found is not None and begin is not None:
        assert (found.begin, found.end) == (every[begin].time, every[begin + 24].time)
        assert len(found.served.numbers["slices"]) == 25


def test_a_shift_is_named_and_nothing_else() -> None:
    found = look(lines(100, 3, shift=2.0), 100, reference(), PARAMS)
    assert found is not None and [one.name for one in found.moved] == ["brain_median"]
    assert found.moved[0].sentence.startswith("the brain's HU: median ") and "radiology" in found.moved[0].advice


def test_more_bleeding_heads_are_named() -> None:
    found = look(lines(100, 3, prevalence=0.6), 100, reference(), PARAMS)
    assert found is not None
    named = {one.name for one in found.moved}
    assert named == {"suspected", "score any", "score subdural"}
    assert "feedback" in found.moved[0].advice


def test_files_that_are_not_used_name_their_reason() -> None:
    kept = lines(30, 4)
    locked = [type(one)(**{**vars(one), "reasons": {"used": 30, "timed_out": 30}}) for one in kept]
    (found,) = [one for one in compare(reference(), of_served(locked), 0.01) if one.name == "rejected"]
    assert found.moved and "timed_out in 100 % of cases, was 0 %" in found.served and "ich ingest" in found.advice


def test_stable_cases_move_nothing() -> None:
    """Sixty windows at a level of 0.01: by chance more than four alarms come once in two thousand such tests."""
    params = PARAMS.model_copy(update={"windows": (25,), "cases_a_year": 1000, "false_alarms_a_year": 0.4})
    assert level(25, params) == pytest.approx(0.01)
    alarms = 0
    for seed in range(60):
        found = look(lines(25, 5000 + seed), 25, reference(100, 9000 + seed), params)
        alarms += found is not None and bool(found.moved)
    assert alarms <= 4


def test_what_nobody_has_is_not_compared() -> None:
    few = of_served(lines(9, 1))
    assert compare(reference(), few, 0.05) == []
    nothing = of_served([])
    assert nothing.shares["suspected"] == (0, 0) and compare(nothing, nothing, 0.05) == []


def test_the_reference_comes_back_from_its_file(tmp_path: Path) -> None:
    made = reference(40)
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(made.to_json()))
    found = Measurements.load(path)
    assert found.to_json() == made.to_json()
    assert all((np.diff(values) >= 0).all() for values in found.numbers.values())  # sorted: no row is one case's
    path.write_text('{"schema": "reference/0"}')
    with pytest.raises(InputError, match="reference/0"):
        Measurements.load(path)
