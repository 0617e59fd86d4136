"""What a reader of a rightly suspected case's page is told: is the finding named first there, and does its + lie on blood?

    python benchmarks/true_positives.py     # after `make repro`, in the project's top folder

Every true positive of both tests. The + is the highest maximum of the map that is drawn for the finding named first, in the
slice that is shown first for it. "On the lesion" is on any haemorrhage of that slice, "on its own" on one of that finding; a
slice without a mask counts as missed. It looks at the tests' labels and masks.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from flows.engine import layout
from flows.report import inputs_of
from ich_pipeline.config import load_params
from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.case import ExplainedCase, margin
from ich_pipeline.explain.lesions import MaskedSlice, lesions_of
from ich_pipeline.explain.placed import peak
from ich_pipeline.report.cases import explained
from ich_pipeline.report.inputs import Inputs
from ich_pipeline.series.placement import Placement
from ich_pipeline.training.network import Network


def main() -> None:
    """Print one line a test."""
    inputs = inputs_of(load_params())
    network = Network.load(layout.TRAIN / inputs.params.explain.architecture)
    explainer = Explainer(network, inputs.params.explain)
    for test in inputs.tests:
        right = on = own = near = count = 0
        for row in test.cases.to_dict("records"):
            if not (row["decision"] and row[f"truth_{inputs.labels.any}"]):
                continue
            case, truth = explained(inputs, test, row["case_id"], network, explainer)
            name, number = _first(case)
            hit, mine, mm = _cross(inputs, case, name, number)
            count += 1
            right, on, own, near = right + (name in truth.case), on + hit, own + mine, near + (mm <= 10)
        print(
            f"{test.name}: {count} true positives; the finding named first is there in {right}; its + lies on a lesion in {on}, "
            f"on its own in {own}, within 10 mm of a lesion in {near}"
        )


def _first(case: ExplainedCase) -> tuple[str, int]:
    """The finding that the sentence names first, and the slice that is shown first for it."""
    subtypes = [case.labels.index(name) for name in case.labels.subtypes]
    above = margin(case.case_scores[subtypes], case.case_thresholds[subtypes])
    name = case.labels.subtypes[int(np.argmax(above))]
    return name, next((i for i, names in case.shown.items() if name in names), next(iter(case.shown)))


def _cross(inputs: Inputs, case: ExplainedCase, name: str, number: int) -> tuple[bool, bool, float]:
    """Whether the + lies on a lesion, on one of the finding, and how many mm from a lesion."""
    volume, uid = inputs.volume(case.case_id), case.sop_instance_uids[number]
    if uid not in inputs.masks:
        return False, False, np.inf
    lesions = lesions_of(inputs.masks[uid], inputs.placements.get(uid, Placement()), inputs.labels)
    spacing = inputs.spacing_mm(case.case_id)
    one = MaskedSlice.of_volume(case.case_id, "", number + 1, volume.hu[number], volume.frame, spacing, lesions)
    maps = case.attention[number]
    drawn = maps[name if name in maps else next(iter(maps))].map
    if drawn is None:
        return False, False, np.inf
    at = peak(drawn.inside(one.head))
    anything = one.lesions[inputs.labels.any]
    far = np.asarray(ndimage.distance_transform_edt(~anything, sampling=one.spacing_mm))
    return bool(anything[at]), bool(name in one.lesions and one.lesions[name][at]), float(far[at])


if __name__ == "__main__":
    main()
