"""Where the tests do not show that the system is better than chance, it is said."""

from __future__ import annotations

from ich_pipeline.report.cautions import cautions
from ich_pipeline.report.metrics import markdown


def entry(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high} | ({"reason": "no positives"} if value is None else {})


def block(slices: dict, cases: dict, precision: dict, prevalence: float | None = 0.1) -> dict:
    mean = {"ap": precision, "prevalence": entry(prevalence)}
    return {"slice": {"any": {"auc": slices}, "mean": mean}, "case": {"any": {"auc": cases}}}


GOOD = entry(0.9, 0.8, 0.95)


def test_a_test_that_shows_it_has_none():
    assert cautions({"test_a": block(GOOD, GOOD, entry(0.5, 0.3, 0.6))}, ["test_a"], "any") == []


def test_each_figure_that_does_not_show_it_is_named():
    blocks = {
        "test_a": block(entry(0.76, 0.126, 0.881), GOOD, entry(0.2, 0.05, 0.4)),
        "test_b": block(GOOD, entry(1.0), entry(0.5, 0.3, 0.6)),  # without an interval nothing is shown
        "test_c": block(entry(None), entry(None), entry(None), None),
        "test_d": block(entry(0.6, 0.5, 0.7), GOOD, entry(0.2, 0.1, 0.3)),  # the bound itself is chance
        "test_e": block(GOOD, GOOD, GOOD),
    }
    assert cautions(blocks, list(blocks), "any") == [
        "Test a: better than chance is not shown (AUC of “any” by slice 0.760 (0.126–0.881); mean average precision by slice "
        "0.200 (0.050–0.400) at prevalence 0.100).",
        "Test b: better than chance is not shown (AUC of “any” by case 1.000).",
        "Test c: better than chance is not shown (AUC of “any” by slice not estimable: no positives; AUC of “any” by case not "
        "estimable: no positives; mean average precision by slice not estimable: no positives).",
        "Test d: better than chance is not shown (AUC of “any” by slice 0.600 (0.500–0.700); mean average precision by slice "
        "0.200 (0.100–0.300) at prevalence 0.100).",
    ]


def test_they_stand_before_the_figures():
    metrics = {level: {"any": {"auc": GOOD}} for level in ("slice", "case")}
    text = markdown({"test_a": metrics}, ["test_a"], "balanced", 0.95, ["Nothing is shown."])
    assert text.index("> **Caution.** Nothing is shown.") < text.index("| label |")
    assert "Caution" not in markdown({"test_a": metrics}, ["test_a"], "balanced", 0.95)
