"""Is a network that learns *where* synthetic heads bleed worth more on few patients than one that learns only whether?

A small U-Net (256 pixels in, maps at a stride of 4 and 8) learns the share of blood in every cell of the varied synthetic heads, whose masks are
known. Of a patient's slice its maps give numbers as the HU rule measures them: the mean of the largest cells, the same of the difference to the
mirrored map, the mean; then those of the slice before and after; read by the HU rule's own forests, in the folds of ``small_data.py``.

    python benchmarks/dense_pretraining.py draw FOLDER                         # 800 heads with masks, 1.7 GB, some minutes
    python benchmarks/dense_pretraining.py train FOLDER first --steps 900 --stop 300 --rate 2e-3
    python benchmarks/dense_pretraining.py train FOLDER second --steps 240 --rate 1.5e-3 --begin first
    python benchmarks/dense_pretraining.py score FOLDER second                 # in a project whose stages window and features ran

``score`` prints AUC of slices and cases of "any", and the paired difference to the HU rule by slices, of each seed and of the mean over seeds.
docs/decisions.md, "Few patients", has what came out.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from small_data import RULE, WORK, Bench, _by_case, pooled

from ich_pipeline.config import AugmentationParams, Params, load_params
from ich_pipeline.core.progress import terminal
from ich_pipeline.ensemble.folds import patient_folds
from ich_pipeline.evaluation.bootstrap import draw_counts, interval
from ich_pipeline.evaluation.metrics import Estimate, Level, label_metrics
from ich_pipeline.phantom.varied.slices import _plans, varied_patient
from ich_pipeline.tables.slice_index import neighbours_among
from ich_pipeline.training.augmentation import draw_transforms
from ich_pipeline.training.data import open_slices
from ich_pipeline.training.layers import Pool, Windows
from ich_pipeline.training.loss import class_weights
from ich_pipeline.windowing.windows import clip_range, window_of

SIZE, HALF = 256, 128  # pixels of the pictures, and of the masks as they are kept
LOWEST_HU = -150  # air; below every window
DENSE, WIDTHS = "dense maps", (32, 64, 96)
VALIDATION = 400  # slices of the first heads, never learnt from
MOVES = AugmentationParams(rotation_deg=30, shift=0.08, zoom=0.15, shear_deg=8, horizontal_flip=True)
SHARES = (0.005, 0.02, 0.1)  # of a map's cells, the largest ones


def draw(params: Params, folder: Path, patients: int) -> None:
    """HU (n, 256, 256), masks (n, subtypes, 128, 128) in quarters of a pixel, and truth, as files in ``folder``."""
    settings, subtypes = params.pretrain, params.label_set.subtypes
    each = settings.slices
    plans = _plans(
        params.label_set, patients, each, SIZE, settings.positive_fraction, settings.faint_fraction, settings.seed
    )
    folder.mkdir(parents=True, exist_ok=True)
    count = patients * each
    hu = np.lib.format.open_memmap(folder / "hu.npy", "w+", np.int16, (count, SIZE, SIZE))
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, (count, len(subtypes), HALF, HALF))
    highest = clip_range(params.windowing.windows)[1]
    for number, plan in enumerate(terminal(plans, "drawing varied heads", len(plans))):
        slices, scans = varied_patient(plan, settings.variation)
        for place, (drawn, scan) in enumerate(zip(slices, scans, strict=True)):
            row = number * each + place
            hu[row] = np.clip(np.rint(scan), LOWEST_HU, highest).astype(np.int16)
            for k, kind in enumerate(subtypes):
                if kind in drawn.masks:
                    masks[row, k] = drawn.masks[kind].reshape(HALF, 2, HALF, 2).sum(axis=(1, 3))


def build(params: Params) -> keras.Model:
    """HU (n, 256, 256) to logits, "any" first: of the slice, (n, labels), and of every cell, at strides of 4 (near the stem), 8 and 4."""

    def block(x: Any, channels: int, stride: int = 1, kernel: int = 3) -> Any:
        x = layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))

    def joined(fine: Any, coarse: Any, channels: int) -> Any:
        wide = layers.UpSampling2D(2)(block(coarse, channels, kernel=1))
        return block(layers.Concatenate()([fine, wide]), channels)

    fine, middle, deep = WIDTHS
    hu = keras.Input((SIZE, SIZE))
    windows: Any = Windows(tuple(window_of(window) for window in params.windowing.windows))(hu)
    stem = block(block(block(layers.Rescaling(2.0, -1.0)(windows), 40, 4, 7), fine), fine)
    eighth = block(block(stem, middle, 2), middle)
    sixteenth = block(block(eighth, deep, 2), deep)
    coarsest = block(block(sixteenth, deep, 2), deep)
    eighth = joined(eighth, joined(sixteenth, coarsest, deep), middle)
    quarter = joined(stem, eighth, fine)
    rare: Any = keras.initializers.Constant(-3.0)  # of cells with blood
    count = len(params.label_set.columns)
    whole = layers.Dense(count)(Pool(("mean", 0.01))([eighth, quarter]))
    cells = [layers.Conv2D(count, 1, bias_initializer=rare)(maps) for maps in (stem, eighth, quarter)]
    return keras.Model(hu, [whole, *cells])


def train(params: Params, folder: Path, name: str, steps: int, stop: int, rate: float, begin: str | None) -> None:
    """Learn, and write ``<name>.weights.h5`` into ``folder``."""
    keras.utils.set_random_seed(params.pretrain.seed + steps)
    model = build(params)
    if begin:
        model.load_weights(folder / f"{begin}.weights.h5")
    hu, masks = (np.load(folder / f"{what}.npy", mmap_mode="r") for what in ("hu", "masks"))
    findings = np.array([mask.any(axis=(1, 2)) for mask in masks])
    truth = np.column_stack([findings.any(axis=1), findings]).astype(np.float32)
    rows = np.arange(VALIDATION, len(hu))
    kinds = rows[truth[rows, 0] > 0], rows[truth[rows, 0] == 0]
    positive = class_weights(truth[rows], 3.0).positive
    falling: Any = keras.optimizers.schedules.CosineDecay(1e-5, steps, warmup_target=rate, warmup_steps=steps // 15)
    optimizer = keras.optimizers.Adam(falling, global_clipnorm=1.0)
    generator, batch = np.random.default_rng(params.pretrain.seed + steps), params.pretrain.batch_size

    @tf.function
    def step(pictures: Any, shares: Any, of_slices: Any) -> Any:
        with tf.GradientTape() as tape:
            whole, *cells = model(pictures, training=True)
            of_whole = tf.nn.sigmoid_cross_entropy_with_logits(labels=of_slices, logits=whole)
            loss = 0.3 * tf.reduce_mean(of_whole * (1 + of_slices * (positive - 1))) + 5 * dense_loss(cells, shares)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    began, losses = time.monotonic(), []
    for number in range(1, (stop or steps) + 1):
        chosen = np.concatenate([generator.choice(kind, batch // 2, replace=False) for kind in kinds])
        pictures, shares = _moved(hu[chosen], masks[chosen], generator)
        losses.append(float(step(pictures, shares, truth[chosen])))
        if number % 50 == 0:
            print(f"step {number}: loss {np.mean(losses[-50:]):.4f}, {time.monotonic() - began:.0f} s", flush=True)
    model.save_weights(folder / f"{name}.weights.h5")


def _moved(hu: NDArray[Any], masks: NDArray[Any], generator: np.random.Generator) -> tuple[Any, Any]:
    """Pictures turned, shifted, blurred, noised and of another brightness and contrast; shares (n, 128, 128, 6) moved with them."""
    count, seed = len(hu), int(generator.integers(1 << 40))
    pairs = ((hu[..., None], SIZE, LOWEST_HU), (np.moveaxis(masks, 1, -1) / 4, HALF, 0))
    picture, share = (
        tf.raw_ops.ImageProjectiveTransformV3(
            images=np.asarray(values, np.float32),
            transforms=draw_transforms(np.random.default_rng(seed), count, size, MOVES),
            output_shape=[size, size],
            fill_value=float(fill),
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        for values, size, fill in pairs
    )
    draws = generator.uniform(0, 1, (5, count, 1, 1)).astype(np.float32)
    blur = (draws[0] * (draws[1] < 0.5))[..., None]
    picture = ((1 - blur) * picture + blur * tf.nn.avg_pool2d(picture, 3, 1, "SAME"))[..., 0]
    gained = 35 + (picture - 35) * (0.8 + 0.45 * draws[2])
    picture = tf.where(tf.abs(picture - 35) < 90, gained, picture)  # of soft tissue
    picture += generator.normal(0, 4, (count, 1, 1)).astype(np.float32)
    grain = generator.normal(0, 1, (count, SIZE, SIZE)).astype(np.float32)
    picture += 4 * draws[3] * (draws[4] < 0.6) * grain
    of_any = tf.minimum(tf.reduce_sum(share, -1, keepdims=True), 1.0)
    return picture, tf.concat([of_any, share], -1)


def dense_loss(logits: list[Any], shares: Any) -> Any:
    """Cross-entropy a cell with the share of blood, half as much again, as the target; bloody cells weigh up to eightfold."""
    total: Any = 0.0
    for maps in logits:
        side = HALF // int(maps.shape[1])
        target = tf.minimum(tf.nn.avg_pool2d(shares, side, side, "VALID") * 1.5, 1.0)
        cells = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=maps) * (1 + 7 * target)
        total += tf.reduce_mean(cells)
    return total


def numbers(params: Params, folder: Path, name: str, hu: Any) -> NDArray[np.float32]:
    """(n, numbers) of slices (n, 256, 256) from the maps at strides 8 and 4, averaged over the mirrored picture."""
    model = build(params)
    model.load_weights(folder / f"{name}.weights.h5")
    found = []
    for start in terminal(range(0, len(hu), 32), "maps", -(-len(hu) // 32)):
        seen = np.asarray(hu[start : start + 32], np.float32)
        maps, mirrored = (model.predict_on_batch(view)[2:] for view in (seen, seen[:, :, ::-1]))
        mean = [(m + w[:, :, ::-1]) / 2 for m, w in zip(maps, mirrored, strict=True)]
        found.append(np.concatenate([_pooled(np.asarray(one, np.float32)) for one in mean], axis=1))
    return np.concatenate(found)


def _pooled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest, means of the largest shares, the same of the difference to the mirrored map, and the mean, a label each."""
    flat = maps.reshape(len(maps), -1, maps.shape[-1])
    apart = (maps - maps[:, :, ::-1]).reshape(flat.shape)
    flat, apart = np.sort(flat, axis=1), np.sort(apart, axis=1)
    counts = [1, *(max(round(share * flat.shape[1]), 1) for share in SHARES)]
    found = [flat[:, -count:].mean(axis=1) for count in counts]
    found += [apart[:, -count:].mean(axis=1) for count in counts[:-1]]
    return np.concatenate([*found, flat.mean(axis=1)], axis=1)


class WithMaps(Bench):
    """The bench of small_data.py for "any" alone, with one more reader: forests on the maps' numbers of a slice and its neighbours."""

    def __init__(self, params: Params, folder: Path, name: str) -> None:
        super().__init__(params)
        self.findings, self.truth = self.truth, self.truth[:, :1]
        index, hu = open_slices(WORK / "window", SIZE)
        sides = [np.where(side < 0, np.arange(len(index)), side) for side in neighbours_among(index).T]
        measured = numbers(params, folder, name, hu[index["row"].to_numpy()])
        self.dense = copy.copy(self)
        self.dense.rule = np.concatenate([measured, *(measured[side] for side in sides)], axis=1)
        self._known: dict[tuple[str, bytes, int], Any] = {}

    def fold(self, rows: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
        """The folds of all findings."""
        order = np.random.default_rng(seed).permutation(int(self.patients.max()) + 1)
        return patient_folds(order[self.patients[rows]], self.findings[rows], 5)

    def scores(self, name: str, learn: NDArray[np.bool_], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As the bench's, each worked out once."""
        key = (name, learn.tobytes(), seed)
        if key not in self._known:
            dense = name == DENSE
            self._known[key] = Bench.scores(self.dense if dense else self, RULE if dense else name, learn, seed)
        return self._known[key]


def score(params: Params, folder: Path, name: str, seeds: int) -> None:
    """Print a Markdown table."""
    bench = WithMaps(params, folder, name)
    if len(bench.dense.rule) != len(bench.truth):
        raise SystemExit("dense_pretraining: every slice of the window stage must have a label")
    networks = list(params.architectures)
    readers = [[RULE], networks, [DENSE], [*networks, RULE], [DENSE, RULE], [DENSE, *networks, RULE]]
    every = np.ones(len(bench.truth), bool)
    level = Level(bench.patients, draw_counts(int(bench.patients.max()) + 1, 1000, params.seed))
    truth, of_cases = bench.truth[:, 0].astype(np.int64), _by_case(bench, bench.truth[:, 0], every).astype(np.int64)
    first = np.unique(bench.cases, return_index=True)[1]
    case_level = Level(bench.patients[first], level.counts)
    print(
        "| reader | AUC of slices | AUC of cases | slices less the HU rule | mean over seeds |\n|---|---|---|---|---|"
    )
    rule: list[Estimate] = []
    for members in readers:
        found = [pooled(bench, members, params.seed + seed)[0][:, 0] for seed in range(seeds)]
        slices = [label_metrics(one, truth, {}, level)["auc"] for one in found]
        cases = [label_metrics(_by_case(bench, one, every), of_cases, {}, case_level)["auc"] for one in found]
        rule = rule or slices
        gains = [_gain(one, before) for one, before in zip(slices, rule, strict=True)]
        mean = _text(float(np.mean([gain for gain, _ in gains])), np.mean([drawn for _, drawn in gains], axis=0))
        row = [" + ".join(members), *(", ".join(f"{one.value:.3f}" for one in level) for level in (slices, cases))]
        print("| " + " | ".join([*row, "; ".join(_text(*gain) for gain in gains), mean]) + " |", flush=True)


def _gain(one: Estimate, before: Estimate) -> tuple[float, NDArray[np.float64]]:
    """The paired difference and its replicates."""
    gain = one.gain_over(before)
    assert gain.value is not None and gain.replicates is not None  # "any" has both kinds
    return gain.value, gain.replicates


def _text(value: float, replicates: NDArray[np.float64]) -> str:
    low, high = interval(replicates, 0.95) or (float("nan"), float("nan"))
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> int:
    """Draw, train or score."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    for command in ("draw", "train", "score"):
        one = what.add_parser(command)
        one.add_argument("folder", type=Path)
        if command == "draw":
            one.add_argument("--patients", type=int, default=800)
            continue
        one.add_argument("name")
        if command == "score":
            one.add_argument("--seeds", type=int, default=3)
            continue
        one.add_argument("--steps", type=int, default=900)
        one.add_argument("--stop", type=int, default=0)
        one.add_argument("--rate", type=float, default=2e-3)
        one.add_argument("--begin")
    asked, params = parser.parse_args(), load_params()
    if asked.what == "draw":
        draw(params, asked.folder, asked.patients)
    elif asked.what == "train":
        train(params, asked.folder, asked.name, asked.steps, asked.stop, asked.rate, asked.begin)
    else:
        score(params, asked.folder, asked.name, asked.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
