"""Pooled features of every slice, in memory-mapped arrays: made once, read by every head, fold, degree and seed.

A *view* is one way of looking at all slices: as they are, mirrored left to right, or interpolated towards a neighbour.
The file ``features.npy`` is float32 (views, slices, F); ``features.json`` names the views. A slice's numbers come from
:meth:`ich_pipeline.training.network.Network.run_batched`, as those of evaluation and serving do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, read_table, write_json, write_table, write_text
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.windowing.windows import interpolate

if TYPE_CHECKING:
    from ich_pipeline.training.interpolated import Probabilities
    from ich_pipeline.training.network import Network
    from ich_pipeline.training.spec import Readable

SCHEMA = "features/1"
ROWS_SCHEMA = "feature_rows/1"
ARRAY, TOLD, ROWS, DONE = "features.npy", "features.json", "rows.parquet", "done"
CHUNK = 256  # slices between two states to resume from
AS_IT_IS, MIRRORED = "original", "mirrored"


# Answers of a network to slices: from stored features where its backbone is frozen, else by running it.


def answers_from(features: Path, kind: str, uids: Sequence[str]) -> Probabilities:
    """How these slices are answered.

    Args:
        features: folder of stage features; ``<architecture>/<kind>`` in it is used where it is there.
        kind: which features of an architecture.
        uids: SOPInstanceUID of each slice that will be asked for, in order.
    """

    def answer(
        network: Readable,
        hu: Any,
        neighbours: NDArray[np.integer],
        degrees: Sequence[float],
        original: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        folder = features / network.spec.architecture / kind
        if not (folder / TOLD).is_file():
            from ich_pipeline.training.interpolated import interpolated_probabilities

            return interpolated_probabilities(network, hu, neighbours, degrees, original)
        from ich_pipeline.features.classifier import Head  # scipy.stats, which a stage without features does not need

        kernel, bias = network.head()
        head = Head(np.asarray(kernel, np.float64), np.asarray(bias, np.float64))
        return at_degrees(read(folder, uids), degrees, head)

    return answer


def view_names(degrees: Sequence[float], mirrored: bool) -> list[str]:
    """The views that heads learn from and are asked by: ``original``, ``mirrored``, ``before 0.3``, ``after 0.3`` …"""
    names = [AS_IT_IS, MIRRORED] if mirrored else [AS_IT_IS]
    return names + [f"{side} {degree:g}" for degree in degrees if degree for side in ("before", "after")]


@dataclass(frozen=True)
class Features:
    """Features of chosen slices.

    Attributes:
        views: by name, (n, F); rows without the neighbour of a view hold zeros there and are never read.
        neighbours: bool (n, 2): whether a slice has the neighbour before and after.
    """

    views: dict[str, NDArray[np.float32]]
    neighbours: NDArray[np.bool_]

    def learning(self) -> list[NDArray[np.float32]]:
        """The views that a head learns from: the slices as they are, and mirrored where that was asked for."""
        return [self.views[name] for name in (AS_IT_IS, MIRRORED) if name in self.views]


def compute(
    network: Network,
    hu: Any,
    neighbours: NDArray[np.integer],
    names: Sequence[str],
    folder: Path,
    track: Track = quiet,
) -> None:
    """Write ``features.npy`` into ``folder``; what is there of an earlier, stopped run is gone on with.

    Args:
        network: whose pooled features are meant.
        hu: slices (N, s, s) in HU, a memory map.
        neighbours: (N, 2) rows of the slices before and after, -1 for none.
        names: of :func:`view_names`.
        folder: where the array and the count of finished chunks lie until all is done.
        track: shows progress over the chunks.
    """
    model = network.pooled_features()
    output: Any = model.output
    shape = (len(names), len(hu), int(output.shape[-1]))
    path, done_path = folder / ARRAY, folder / DONE
    folder.mkdir(parents=True, exist_ok=True)
    done = int(done_path.read_text(encoding="ascii")) if done_path.is_file() and path.is_file() else 0
    array = np.lib.format.open_memmap(
        path, mode="r+" if done else "w+", dtype=np.float32, shape=None if done else shape
    )
    if array.shape != shape:
        raise InputError(f"{path} is of other slices than these: remove {folder}, and the features are made anew.")
    steps = [(view, start) for view in range(len(names)) for start in range(0, len(hu), CHUNK)]
    for number, (view, start) in enumerate(
        track(steps, f"features of {network.spec.architecture}", len(steps)), start=1
    ):
        if number <= done:
            continue
        rows = np.arange(start, min(start + CHUNK, len(hu)))
        seen, looked_at = _look(hu, neighbours, names[view], rows)
        if len(seen):
            array[view, seen] = network.run_batched(model, looked_at)[0]
        array.flush()
        write_text(done_path, str(number))
    done_path.unlink(missing_ok=True)


def _look(
    hu: Any, neighbours: NDArray[np.integer], name: str, rows: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[Any]]:
    """The rows that a view has, and what it shows of them, (n, s, s) in HU."""
    if name == AS_IT_IS:
        return rows, np.asarray(hu[rows])
    if name == MIRRORED:
        return rows, np.asarray(hu[rows])[:, :, ::-1]
    side, degree = name.split(" ")
    other = neighbours[rows, ("before", "after").index(side)]
    rows, other = rows[other >= 0], other[other >= 0]
    return rows, interpolate(np.asarray(hu[rows]), np.asarray(hu[other]), float(degree))


def describe(folder: Path, index: pd.DataFrame, names: Sequence[str]) -> None:
    """Write the names of the views, and which slice each row is, beside ``features.npy``."""
    write_json(folder / TOLD, {"schema": SCHEMA, "views": list(names)})
    rows = index[["SOPInstanceUID"]].copy()
    for side in ("before", "after"):
        rows[side] = index[side].to_numpy() >= 0
    write_table(folder / ROWS, rows, ROWS_SCHEMA)


def read(folder: Path, uids: Sequence[str]) -> Features:
    """The features of these slices, in this order.

    Raises:
        InputError: the folder lacks a file or a slice, or is of another version.
    """
    told = read_json(folder / TOLD)
    if told.get("schema") != SCHEMA:
        raise InputError(f"{folder / TOLD} has another schema than {SCHEMA!r}: run the features stage again.")
    rows = read_table(folder / ROWS, ROWS_SCHEMA)
    position = pd.Series(np.arange(len(rows)), index=rows["SOPInstanceUID"]).reindex(list(uids))
    if position.isna().any():
        raise InputError(
            f"{folder} has no features of SOPInstanceUID {position.index[position.isna()][0]}: run the features stage again."
        )
    chosen = position.to_numpy(np.int64)
    array = np.load(folder / ARRAY, mmap_mode="r")
    views = {name: np.asarray(array[view][chosen]) for view, name in enumerate(told["views"])}
    return Features(views, rows[["before", "after"]].to_numpy(bool)[chosen])


def at_degrees(features: Features, degrees: Sequence[float], head: Any) -> NDArray[np.float32]:
    """A head's answers with slice interpolation, as :func:`ich_pipeline.training.interpolated.interpolated_probabilities`.

    Args:
        features: of n slices.
        degrees: candidates; each but 0 needs its two views.
        head: an :class:`~ich_pipeline.features.classifier.Head`.

    Returns:
        float32 (degrees, n, labels).
    """
    alone = head.probabilities(features.views[AS_IT_IS])
    result = np.empty((len(degrees), *alone.shape), np.float32)
    for position, degree in enumerate(degrees):
        total, count = alone.astype(np.float64), np.ones((len(alone), 1))
        for side, name in enumerate(("before", "after")) if degree else ():
            having = features.neighbours[:, side]
            total[having] += head.probabilities(features.views[f"{name} {degree:g}"][having])
            count[having] += 1
        result[position] = total / count
    return result
