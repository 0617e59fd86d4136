"""How many strange scans are not read, and how many of the usual ones: `python benchmarks/no_precedent.py [COHORT [CASES]]`.

In a project after `make repro`: every case of a test cohort (test_prospective) as it is, and changed in its Hounsfield units: vessels with
contrast medium, a sharp kernel, noise, a neck in its place, turned, upside down, streaks of metal, another zero point, a bottle of water, a belly.
And how many of their slices are called unlike the training slices; of a scan whose lower half is a neck, those of the neck and of the head.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flows.engine import layout
from ich_pipeline.config import load_params
from ich_pipeline.core.files import read_table
from ich_pipeline.core.progress import terminal
from ich_pipeline.ingest.volumes import SUFFIX, read_volume
from ich_pipeline.precedent.model import FILE, Judgement, Precedent
from ich_pipeline.tables.schemas import COHORTS_TABLE, SERIES_TABLE
from ich_pipeline.training.network import Network
from ich_pipeline.windowing.crop import focus
from ich_pipeline.windowing.frame import Millimetres

Volume = NDArray[np.floating]
Change = Callable[[Volume, np.random.Generator], Volume]
MOST = 40  # cases
HALF = "a neck below the head"


def contrast(hu: Volume, rng: np.random.Generator) -> Volume:
    """Short curved vessels of 160 HU above the brain, and a bright rim where the sinuses and the meninges are."""
    for picture in hu:
        labelled, count = ndimage.label(ndimage.binary_erosion((picture > 0) & (picture < 80), iterations=2))  # type: ignore[misc]
        if not count:
            continue
        brain = labelled == np.argmax(np.bincount(labelled.ravel())[1:]) + 1
        places, vessels = np.argwhere(brain), np.zeros(picture.shape, bool)
        if len(places) < picture.size / 100:
            continue
        for _ in range(rng.integers(8, 16)):
            at, angle = places[rng.integers(len(places))].astype(float), rng.uniform(0, 2 * np.pi)
            for _ in range(int(rng.integers(len(picture) // 33, len(picture) // 10))):
                angle += rng.normal(0, 0.25)
                at += np.sin(angle), np.cos(angle)
                y, x = np.clip(at.round().astype(int), 1, len(picture) - 2)
                vessels[y - 1 : y + 1, x - 1 : x + 1] = True
        picture += 5 * brain + ndimage.gaussian_filter(160.0 * (vessels & brain), 0.8)
        rim = ndimage.binary_dilation(brain, iterations=max(len(picture) // 90, 2)) & ~brain
        picture[rim & (picture > 20) & (picture < 120)] += 60
    return hu


def sharp_kernel(hu: Volume, rng: np.random.Generator) -> Volume:
    return np.stack([p + 2.5 * (p - ndimage.gaussian_filter(p, 1.2)) + rng.normal(0, 25, p.shape) for p in hu])


def noise(hu: Volume, rng: np.random.Generator) -> Volume:
    grain = ndimage.gaussian_filter(rng.normal(size=hu.shape), (0, 0.6, 0.6))
    return hu + (15 / grain.std() * grain).astype(np.float32)


def metal(hu: Volume, rng: np.random.Generator) -> Volume:
    y, x = np.mgrid[: hu.shape[1], : hu.shape[2]]
    y, x = y - hu.shape[1] * rng.uniform(0.35, 0.65), x - hu.shape[2] * rng.uniform(0.3, 0.7)
    angle, away = np.arctan2(y, x), np.hypot(y, x)
    for picture in hu:
        waves = zip(rng.uniform(0, 2 * np.pi, 6), rng.integers(4, 24, 6), strict=True)
        streaks = np.sum([np.sin(number * angle + phase) for phase, number in waves], axis=0) / 2.5
        picture += 250 * streaks * np.exp(-away / (0.23 * len(picture)))
        picture[away < len(picture) / 85] = 3000
    return hu


def _ellipses(hu: Volume, parts: tuple[tuple[float, ...], ...], grain: float, rng: np.random.Generator) -> Volume:
    """Ellipses (centre down and across, half axes, in sides of the picture; HU) over one another."""
    side = np.mgrid[: hu.shape[1], : hu.shape[2]] / np.array(hu.shape[1:])[:, None, None]
    picture = np.full(hu.shape[1:], -1000.0, np.float32)
    for down, across, tall, wide, value in parts:
        picture[np.hypot((side[0] - down) / tall, (side[1] - across) / wide) < 1] = value
    return picture + rng.normal(0, grain, hu.shape).astype(np.float32)


NECK = (
    (0.5, 0.5, 0.26, 0.3, -90), (0.5, 0.5, 0.22, 0.26, 55), (0.58, 0.5, 0.07, 0.08, 450), (0.6, 0.5, 0.025, 0.03, 20),
    (0.4, 0.5, 0.04, 0.045, -1000), (0.46, 0.36, 0.03, 0.025, 45), (0.46, 0.64, 0.03, 0.025, 45),
)  # fmt: skip
BELLY = (
    (0.5, 0.5, 0.33, 0.46, -90), (0.5, 0.5, 0.29, 0.41, 45), (0.45, 0.35, 0.14, 0.13, 58), (0.45, 0.66, 0.09, 0.08, 50),
    (0.62, 0.5, 0.05, 0.06, 300), (0.55, 0.36, 0.07, 0.05, 32), (0.55, 0.64, 0.07, 0.05, 32), (0.4, 0.55, 0.07, 0.09, -500),
)  # fmt: skip
BOTTLE = ((0.5, 0.5, 0.4, 0.4, 110.0), (0.5, 0.5, 0.38, 0.38, 0.0))
KINDS: dict[str, Change] = {
    "as it is": lambda hu, _: hu,
    "contrast medium": contrast,
    "sharp kernel": sharp_kernel,
    "noise of 15 HU": noise,
    "a neck": lambda hu, rng: _ellipses(hu, NECK, 8, rng),
    "turned by 90°": lambda hu, _: np.rot90(hu, 1, axes=(1, 2)).copy(),
    "turned by 45°": lambda hu, _: ndimage.rotate(hu, 45, axes=(1, 2), reshape=False, order=1, cval=-1000),
    "upside down": lambda hu, _: hu[:, ::-1].copy(),
    "streaks of metal": metal,
    "40 HU too bright": lambda hu, _: np.where(hu > -900, hu + 40, hu),
    "half the contrast": lambda hu, _: np.where(hu > -500, 0.5 * hu + 18, hu),
    "a bottle of water": lambda hu, rng: _ellipses(hu, BOTTLE, 4, rng),
    "a belly": lambda hu, rng: _ellipses(hu, BELLY, 10, rng),
}


def half_neck(hu: Volume, rng: np.random.Generator) -> Volume:
    """A scan that begins far below the head: the lower half of its slices shows a neck."""
    hu[: len(hu) // 2] = _ellipses(hu[: len(hu) // 2], NECK, 8, rng)
    return hu


def main(cohort: str, most: int) -> None:
    params = load_params()
    precedent = Precedent.load(layout.PRECEDENT / FILE)
    network = Network.load(layout.TRAIN / precedent.architecture)
    pooled, windows = network.pooled_features(), params.windowing.windows
    cohorts = read_table(layout.SPLIT / "cohorts.parquet", COHORTS_TABLE)
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    chosen = series.loc[series["chosen"] & series["case_id"].isin(cohorts.loc[cohorts["cohort"] == cohort, "case_id"])]
    chosen = chosen.sort_values("case_id").head(most)
    kinds = {**KINDS, HALF: half_neck}
    found: dict[str, list[Judgement]] = {kind: [] for kind in kinds}
    for row in terminal(chosen.to_dict("records"), "cases", len(chosen)):
        whole = read_volume(layout.INGEST / "volumes" / f"{row['volume']}{SUFFIX}")
        spacing: Millimetres = (float(row["row_spacing_mm"]), float(row["column_spacing_mm"]))
        for kind, change in kinds.items():
            changed = change(whole.astype(np.float32), np.random.default_rng(1))
            seen = focus(np.clip(changed.round(), -1024, 3071).astype(np.int16), params.windowing, spacing)
            own = seen.prepare(network.spec.image_size, windows)
            judged = precedent.judge_slices(
                seen.prepare(precedent.image_size, windows),
                lambda chosen, own=own: network.run_batched(pooled, own[chosen])[0],
            )
            found[kind].append(judged)
    print(
        f"{len(chosen)} cases of {cohort}; limit {precedent.limit:.1f} spreads, from {precedent.held_out} cases held out"
    )
    print("| scan | not read | slices unlike | named most often |\n|---|---:|---:|---|")
    for kind, judged in found.items():
        first = [one.unlike[0] for one in judged if one.unlike]
        named = max(set(first), key=first.count) if first else "–"
        strange = np.concatenate([_strange(one) for one in judged])
        print(f"| {kind} | {len(first)} of {len(judged)} | {strange.mean():.0%} | {named} |")
    neck = np.concatenate([_strange(one)[: len(_strange(one)) // 2] for one in found[HALF]])
    head = np.concatenate([_strange(one)[len(_strange(one)) // 2 :] for one in found[HALF]])
    print(f"{HALF}: unlike are {neck.mean():.0%} of the slices of the neck, {head.mean():.0%} of the others")


def _strange(judged: Judgement) -> NDArray[np.bool_]:
    """Which slices are unlike the training slices, (n,)."""
    count = len(next(iter(judged.slices.excess.values())))
    return np.isin(np.arange(count), judged.slices.unlike)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "test_prospective", int(sys.argv[2]) if len(sys.argv) > 2 else MOST)
