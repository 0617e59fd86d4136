"""How often the gate is wrong: challengers that are truly no better, and challengers that are truly worse by the margin.

    python benchmarks/null_challengers.py [SIMULATIONS]

Case scores are binormal, those of champion and challenger correlated by 0.8 within a class; 500 pairs a row, each judged by
:func:`ich_pipeline.gate.judge.area` with the settings of params.yaml. The gate's other checks can only take a pass away.
*Null*: both have the same true area; wrong is "better". *Inferior*: the challenger's true area is smaller by the margin;
wrong is "better" or "not worse". Both may happen in a share of alpha. In brackets Wilson's interval of the share; *plain* is
the share with the bootstrap's interval alone.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ich_pipeline.config import load_params
from ich_pipeline.evaluation.bootstrap import draw_counts
from ich_pipeline.evaluation.metrics import Level
from ich_pipeline.evaluation.proportions import wilson
from ich_pipeline.gate.judge import area
from tests.made.gate_cases import drawn_pair

SETTINGS = (  # champion's area, positive and negative patients, cases a patient
    (0.85, (20, 20), 1),
    (0.95, (20, 20), 1),
    (0.85, (50, 50), 1),
    (0.95, (50, 50), 1),
    (0.98, (50, 50), 1),
    (0.95, (50, 50), 2),
    (0.95, (40, 400), 1),
    (0.99, (100, 100), 1),
)


def verdicts(
    auc: float, loss: float, patients: tuple[int, int], cases: int, simulations: int
) -> tuple[Counter[str], Counter[str]]:
    """How often the gate says what of challengers whose true area is smaller by ``loss``, and the bootstrap alone."""
    params = load_params()
    rng = np.random.default_rng([params.seed, *patients, cases, round(1000 * auc), round(1000 * loss)])
    level = Level(
        np.arange(sum(patients)).repeat(cases), draw_counts(sum(patients), params.gate.bootstrap, params.seed)
    )
    said, plain = Counter[str](), Counter[str]()
    for _ in range(simulations):
        challenger, champion = drawn_pair(rng, (auc - loss, auc), patients, cases_a_patient=cases)
        found = area(challenger.cases, champion.cases, level, params.gate)
        said[found.verdict] += 1
        low = found.figures["bootstrap_low"]
        plain["better" if low > 0 else "not worse" if low > -params.gate.margins.auc else "cannot decide"] += 1
    return said, plain


def main(simulations: int) -> None:
    """Print the table."""
    gate = load_params().gate
    print(
        f"{simulations} challengers a row; alpha {gate.alpha}, margin {gate.margins.auc}, {gate.bootstrap} replicates"
    )
    print("| truth | AUC | patients +/− | cases each | better | not worse | worse | cannot decide | wrong | plain |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    began = time.perf_counter()
    for truth, loss in (("null", 0.0), ("inferior", gate.margins.auc)):
        for auc, patients, cases in SETTINGS:
            said, plain = verdicts(auc, loss, patients, cases, simulations)
            wrong, alone = (of["better"] + (of["not worse"] if loss else 0) for of in (said, plain))
            low, high = wilson(wrong, simulations, 0.95)
            shares = " | ".join(
                f"{said[v] / simulations:.3f}" for v in ("better", "not worse", "worse", "cannot decide")
            )
            share = f"{wrong / simulations:.3f} ({low:.3f}–{high:.3f}) | {alone / simulations:.3f}"
            print(f"| {truth} | {auc} | {patients[0]}/{patients[1]} | {cases} | {shares} | {share} |", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
