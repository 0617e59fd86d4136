"""Stage atlas: which maps are shown, the most representative training images of each subtype, all training positives.

Maps are chosen, and the atlas is checked, on validation patients; what is in the atlas is of training patients. No test is read.
Where folds were dealt the head learned from validation patients too, and the atlas is checked on nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_json, read_table, sha256_of
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.explain.atlas import Atlas
from ich_pipeline.explain.atlas_build import Head, Slices, build_atlas, map_labels
from ich_pipeline.explain.atlas_checks import HeldOut
from ich_pipeline.explain.case import slice_thresholds
from ich_pipeline.explain.choice import MapChoice, choose_maps
from ich_pipeline.explain.lesions import MaskedSlice, lesions_of
from ich_pipeline.explain.localisation import Draws
from ich_pipeline.explain.patches import firing
from ich_pipeline.ingest.volumes import SUFFIX, read_volume
from ich_pipeline.series.placement import Placement
from ich_pipeline.splits.fold_table import read_folds
from ich_pipeline.tables.cohort_mark import data_words
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.masks import read_masks
from ich_pipeline.tables.schemas import SERIES_TABLE, SLICES_TABLE, VALIDATION_SCORES
from ich_pipeline.tables.slice_index import join_labels, read_index
from ich_pipeline.windowing.crop import focus
from ich_pipeline.windowing.windows import prepare

if TYPE_CHECKING:
    from ich_pipeline.explain.trials import Trials
    from ich_pipeline.training.network import Network

PLACE = ["reorientation", "shift_rows_px", "shift_columns_px"]
THUMBNAIL = 128  # pixels a stored training picture has at most: 32 kB each, enough beside a slice


def body(stage: Stage) -> StageResult:
    """Read training and validation images, labels and masks; write work/atlas."""
    from ich_pipeline.evaluation.style import marked
    from ich_pipeline.report.figures import draw_atlas
    from ich_pipeline.training.network import WEIGHTS_FILE, Network

    params, labels = stage.params, stage.params.label_set
    folder = layout.TRAIN / params.explain.architecture
    network = Network.load(folder)
    largest = max(read_json(layout.WINDOW / "windows.json")["image_sizes"])
    hu = np.load(layout.WINDOW / f"hu_{network.spec.image_size}.npy", mmap_mode="r")
    pictures = np.load(layout.WINDOW / f"hu_{largest}.npy", mmap_mode="r")
    draws = Draws(params.evaluation.bootstrap, params.seed, params.evaluation.confidence)
    maps, trials = _choose(stage, network, hu, draws)
    stage.log.info(
        "maps: %s, outline at %.2f of the maximum, of %s; %s", maps.method, maps.fraction, maps.maps, maps.reason
    )
    explain = maps.applied(params.explain)
    rows = _positives("train", labels)
    if rows.empty:
        raise InputError(
            f"{layout.SPLIT / 'labels' / 'train.csv'} has no positive slice of any subtype: an atlas needs some; bring labels."
        )
    at, truth = rows["row"].to_numpy(), rows[list(labels.subtypes)].to_numpy(np.uint8)
    explainer = trials.explainer(explain)
    # A subtype's map is wanted where it is there; the one of "any" of every slice.
    wanted = np.concatenate([np.ones((len(truth), 1), bool), truth.astype(bool)], axis=1)
    wanted &= np.isin(labels.columns, map_labels(labels, explain))
    attention = explainer.explain(hu[at], wanted, stage.track)
    known = masked_slices(params, rows)
    slices = Slices(
        prepare(pictures[at], min(largest, THUMBNAIL), network.spec.windows),
        truth,
        rows["SOPInstanceUID"].tolist(),
        rows["case_id"].tolist(),
        # The atlas goes into the registered model: it needs to tell patients apart, not to name them.
        [str(number) for number in pd.factorize(rows["patient_key"])[0]],
        rows["position_mm"].to_numpy(np.float64),
        {i: known[row] for i, row in enumerate(at.tolist()) if row in known},
    )
    held = _positives("validation", labels)
    if not read_folds(layout.SPLIT / "folds.parquet").empty:
        stage.log.info("with folds the network's head learned from validation too: the atlas is checked on no patients")
        held = held.iloc[:0]
    held_truth = held[list(labels.subtypes)].to_numpy(np.uint8)
    nothing = np.zeros((len(held), len(labels)), bool)
    features = np.zeros((0, len(explainer.kernel)), np.float32)
    if len(held):
        features = explainer.explain(hu[held["row"].to_numpy()], nothing, stage.track).features
    head = Head(explainer.kernel, explainer.bias, sha256_of(folder / WEIGHTS_FILE))
    named = _named(params, held["SOPInstanceUID"])[:, 1:]
    held_out = HeldOut(features, held_truth, named, held["patient_key"].tolist())
    fired = firing(network, hu[at], stage.track)
    atlas = build_atlas(labels, explain, head, attention, fired, slices, held_out, draws)
    with atomic_dir(layout.ATLAS) as target:
        atlas.save(target)
        maps.save(target)
        with marked(data_words(layout.DATA)):
            draw_atlas(atlas, network.spec.windows, explain.region_fraction, target / "atlas.png")
    table = _table(atlas)
    shown = int(table["examples"].sum())
    summary = (
        f"{shown} examples of {len(labels.subtypes)} subtypes from {len(at):,} positive training slices; {atlas.method}"
    )
    tables = {"atlas": table, "maps": _maps_table(maps), "methods": _methods_table(maps)}
    return StageResult(summary, tables=tables, pictures={"atlas": layout.ATLAS / "atlas.png"})


def _choose(stage: Stage, network: Network, hu: NDArray[np.int16], draws: Draws) -> tuple[MapChoice, Trials]:
    """Choose the maps on validation slices with masks; also what was computed on the way."""
    from ich_pipeline.explain.trials import Trials, layers_to_try

    params, labels = stage.params, stage.params.label_set
    index = read_index(layout.WINDOW)
    known = masked_slices(params, index[index["cohort"] == "validation"])
    at = sorted(known)
    slices = [known[row] for row in at]
    wanted = np.array([[name in one.lesions and one.lesions[name].any() for name in labels.columns] for one in slices])
    wanted = wanted.reshape(-1, len(labels)) & _named(params, index.set_index("row").loc[at, "SOPInstanceUID"])
    trials = Trials(network, hu[at], wanted, stage.track)
    layers = layers_to_try(network, params.explain.minimum_map)
    return choose_maps(labels, params.explain, layers, slices, wanted, trials.maps, draws), trials


def _named(params: Params, uids: pd.Series) -> NDArray[np.bool_]:
    """Which labels the system names for validation slices, in scores that are out of sample: (n, labels)."""
    scores = read_table(layout.CALIBRATE / "validation.parquet", VALIDATION_SCORES).set_index("SOPInstanceUID")
    scores = scores.reindex(uids)[[f"final_{name}" for name in params.label_set.columns]].to_numpy(np.float64)
    thresholds = slice_thresholds(Ensemble.load(layout.CALIBRATE / "ensemble.json"))
    return scores >= thresholds  # never, where either is NaN


def _positives(cohort: str, labels: Labels) -> pd.DataFrame:
    """Rows of the window index of a cohort's slices with at least one subtype, with their labels."""
    index = read_index(layout.WINDOW)
    table = index[index["cohort"] == cohort]
    labelled, truth = join_labels(table, [layout.SPLIT / "labels" / f"{cohort}.csv"], labels, f"cohort {cohort!r}")
    table = table.loc[labelled].assign(**dict(zip(labels.columns, truth.T, strict=True)))
    return table.loc[table[list(labels.subtypes)].any(axis=1)]


def _table(atlas: Atlas) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "subtype": e.label,
                "training positives": len(e.positives),
                "classic features": len(e.classic.features),
                "AUC among positives": round(e.discrimination, 3),
                "examples": len(e.ranked),
                "patients": e.checks.patients,
                "region at the lesion": f"{e.checks.met} of {e.checks.put_forward}" if e.checks.put_forward else "",
                "coverage": _rounded(e.checks.coverage),
                "retrieval mAP": _rounded(e.checks.retrieval and e.checks.retrieval.value),
                "by chance": _rounded(e.checks.retrieval and e.checks.retrieval.chance),
                "true positives held out": len(e.reference),
                "fall without classic features": _rounded(e.checks.deletion and e.checks.deletion.value),
                "without random ones": _rounded(e.checks.deletion and e.checks.deletion.chance),
                "note": e.reason or "",
            }
            for e in atlas.entries
        ]
    )


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 3)


def _maps_table(maps: MapChoice) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "finding": name,
                "map of": one.map_label,
                "maps": one.hit.of,
                "patients": one.hit.patients,
                "hit": _rounded(one.hit.value),
                "hit low": _rounded(one.hit.low),
                "hit high": _rounded(one.hit.high),
                "Dice": _rounded(one.dice),
                "side": _rounded(one.side.value),
                "side low": _rounded(one.side.low),
                "side from": one.side_from,
                "side named": maps.names_side(name),
            }
            for name, one in maps.scores.items()
        ]
    )


def _methods_table(maps: MapChoice) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": one.words,
                "hit": round(one.hit, 3),
                "standard error": round(one.error, 3),
                "Dice": round(one.dice, 3),
                "at": one.fraction,
            }
            for one in maps.tried
        ]
    )


def masked_slices(params: Params, index: pd.DataFrame) -> dict[int, MaskedSlice]:
    """The slices of a part of the window index that have a mask: row of the prepared images → slice.

    Args:
        params: all parameters.
        index: rows of the window index.
    """
    masks = read_masks(layout.MASKS)
    wanted = index[index["SOPInstanceUID"].isin(masks.keys())].set_index("SOPInstanceUID")
    if wanted.empty:
        return {}
    known = {uid: of for uid, *of in wanted[["row", "case_id", "patient_key"]].itertuples(name=None)}
    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    spacings = series[series["chosen"]].set_index("volume")[["row_spacing_mm", "column_spacing_mm"]]
    slices = slices[slices["case_id"].isin(wanted["case_id"])]
    found: dict[int, MaskedSlice] = {}
    for volume, rows in slices.groupby("volume", sort=True):
        rows = rows.sort_values("index", kind="stable")
        at = [k for k, uid in enumerate(rows["SOPInstanceUID"]) if uid in wanted.index]
        if not at:
            continue
        down, right = spacings.loc[str(volume)].to_numpy(np.float64)
        spacing = (float(down), float(right))
        hu = read_volume(layout.INGEST / "volumes" / f"{volume}{SUFFIX}")[rows["index"].to_numpy()]
        seen = focus(hu, params.windowing, spacing)
        shown = seen.shown
        for k in at:
            uid = str(rows["SOPInstanceUID"].iloc[k])
            place = Placement(*rows[PLACE].iloc[k].tolist())
            lesions = lesions_of(masks[uid], place, params.label_set)
            if lesions:
                row, case, patient = known[uid]
                found[row] = MaskedSlice.of_volume(case, patient, k + 1, shown[k], seen.frame, spacing, lesions)
    return found


if __name__ == "__main__":
    main("atlas", body)
