"""Which rule of the case score ranks cases best, and how far few patients can tell? A simulation, about a minute on one core.

Run as ``python benchmarks/case_rule.py``. Slices' log-odds are signal where there is blood, noise that is a slice's own, noise
that neighbours share, a shift of the patient, and rare lonely bright slices (artefacts); Platt scaling calibrates them. Prints

* the AUC over 4,000 cases of every rule, of joining a slice with its better neighbour in other ways, and with both;
* the AUC over these cases that the rule chosen on few of them reaches, by the margin that it must win by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata

from ich_pipeline.ensemble import case_rule
from ich_pipeline.ensemble.calibration import fit_platt
from ich_pipeline.ensemble.case_rule import Places, choose_case_score
from ich_pipeline.ensemble.case_score import CaseScore

CASES, DRAWS, PREVALENCE = 4000, 60, 0.4
RULES = (
    CaseScore("max"),
    CaseScore("top_k_mean", 3),
    CaseScore("top_k_mean", 5),
    CaseScore("neighbours"),
    CaseScore("noisy_or"),
)
SIZES = (12, 20, 40, 100)
MARGINS = (0.0, 0.5, 1.0, 2.0)  # standard errors


@dataclass(frozen=True)
class Scene:
    """Slices a case, slices a lesion (least, most), signal, own noise, shared noise, share of artefacts."""

    slices: int
    lesion: tuple[int, int]
    signal: float
    own: float
    shared: float
    artefacts: float


SCENES = {
    "own noise": Scene(30, (3, 8), 3.0, 1.0, 0.0, 0.0),
    "shared noise": Scene(30, (3, 8), 3.0, 0.5, 0.9, 0.0),
    "artefacts": Scene(30, (3, 8), 3.0, 0.8, 0.3, 0.02),
    "lesions of 1-2 slices": Scene(30, (1, 2), 3.0, 0.8, 0.3, 0.0),
    "1-3 slices, artefacts": Scene(30, (1, 3), 3.0, 0.8, 0.3, 0.02),
    "10 slices a case": Scene(10, (1, 4), 2.5, 0.9, 0.3, 0.01),
}


def draw(scene: Scene, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Calibrated probabilities and truth, both (cases, slices)."""
    shape = (CASES, scene.slices)
    blood = np.zeros(shape)
    for case in np.flatnonzero(random.random(CASES) < PREVALENCE):
        length = int(random.integers(*scene.lesion, endpoint=True))
        start = int(random.integers(0, scene.slices - length, endpoint=True))
        amount = np.full(length, random.lognormal(0.0, 0.3))
        if length > 2:
            amount[[0, -1]] /= 2  # blood fills these slices in part
        blood[case, start : start + length] = amount
    noise = random.normal(size=(CASES, scene.slices + 2))
    shared = (noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]) / np.sqrt(6)
    odds = scene.signal * blood - 2 + scene.own * random.normal(size=shape) + scene.shared * shared
    odds += 0.3 * random.normal(size=(CASES, 1))
    odds += (random.random(shape) < scene.artefacts) * random.exponential(scene.signal, shape)
    truth = (blood > 0).astype(np.int8)
    scale = fit_platt(expit(odds[:400]).ravel(), truth[:400].ravel())
    return scale(expit(odds).ravel()).reshape(shape), truth


def places_of(cases: int, slices: int) -> Places:
    """Of cases without gaps, one a patient."""
    rows = np.arange(cases * slices)
    chain = [np.where(rows % slices > 0, rows - 1, -1), np.where(rows % slices < slices - 1, rows + 1, -1)]
    return Places(rows // slices, np.stack(chain, axis=1), rows // slices)


def area(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """AUC."""
    m, n = int(positive.sum()), int((~positive).sum())
    return (rankdata(scores)[positive].sum() - m * (m + 1) / 2) / (m * n)


def other_ways(p: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Case scores by joining each slice with its better neighbour, or with both, in other ways than the rule does."""
    edge = np.full((len(p), 1), -1.0)
    before, after = np.hstack([edge, p[:, :-1]]), np.hstack([p[:, 1:], edge])
    best = np.maximum(before, after)
    both = p * np.where(before < 0, 1, before) * np.where(after < 0, 1, after)
    odds = logit(np.clip([p, best], 1e-9, 1 - 1e-9)).mean(axis=0)
    joined = {
        "mean": (p + best) / 2,
        "minimum": np.minimum(p, best),
        "log-odds": odds,
        "both": both ** (1.0 / (1 + (before >= 0) + (after >= 0))),
    }
    return {name: values.max(axis=1) for name, values in joined.items()}


def main() -> None:
    """Both tables."""
    random = np.random.default_rng(0)
    drawn = {name: draw(scene, random) for name, scene in SCENES.items()}
    reached: dict[str, dict[CaseScore, float]] = {}
    for name, (p, truth) in drawn.items():
        positive, places = np.asarray(truth.any(axis=1)), places_of(*p.shape)
        scores = {rule: rule(p.reshape(-1, 1), places.case_index, places.neighbours)[:, 0] for rule in RULES}
        reached[name] = {rule: area(of, positive) for rule, of in scores.items()}
        others = {way: area(of, positive) for way, of in other_ways(p).items()}
        figures = {str(rule): value for rule, value in reached[name].items()} | others
        print(f"{name:22}", ", ".join(f"{of} {value:.3f}" for of, value in figures.items()), flush=True)
    print("\nscene, cases: AUC of max, of the rule chosen by each margin (standard errors), of the best rule")
    for name, (p, truth) in drawn.items():
        for size in SIZES:
            places, found = places_of(size, p.shape[1]), {margin: [] for margin in MARGINS}
            for _ in range(DRAWS):
                some = random.choice(CASES, size, replace=False)
                final, y = p[some].reshape(-1, 1), truth[some].reshape(-1, 1)
                for margin, of in found.items():
                    case_rule.MARGIN = margin
                    rule = choose_case_score(RULES, final, np.ones(len(final), bool), y, places).score
                    of.append(reached[name][rule])
            chosen = " ".join(f"{margin:g}: {np.mean(of):.3f}" for margin, of in found.items())
            print(
                f"{name:22} {size:4}  {reached[name][RULES[0]]:.3f}  {chosen}  {max(reached[name].values()):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
