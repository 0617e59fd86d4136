"""Where lesions lie, as a person drew it: masks of PhysioNet CT-ICH, boxes of BHX or of one's own, for ``data/masks.csv``.

They are of slices that the label table calls positive for that finding; what lies on other labelled slices is counted and not
used.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.cohorts.nifti import Nifti, read_nifti
from ich_pipeline.cohorts.physionet_ctich import slice_of
from ich_pipeline.cohorts.source_table import KEY
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.label_tables import UID
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.masks import Box, Boxes, Mask
from ich_pipeline.tables.sheets import table_rows

Mark = tuple[str, str, Mask | Boxes]  # SOPInstanceUID, label, where
STANDARD = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # ImageOrientationPatient of an axial slice, where a file has none
CHRONIC = "chronic"  # BHX names chronic subdural haematomas so
BOX_COLUMNS = (UID, "data", "labelName")
STUDY_COLUMN = "StudyInstanceUID"
SIDES = ("x", "y", "width", "height")
LONGEST = 400  # characters of a cell that may be a box


@dataclass(frozen=True)
class Labelled:
    """What an adapter of marks knows of the cohort.

    Attributes:
        table: SOPInstanceUID, key and 0/1 a label, a row a labelled slice.
        images: every CT image of the export by SOPInstanceUID.
        labels: the labels.
    """

    table: pd.DataFrame
    images: Mapping[str, Header]
    labels: Labels


Drawn = Callable[[Path, Labelled, LabelAccount, Track], list[Mark]]


def read_boxes(path: Path, known: Labelled, account: LabelAccount, track: Track = quiet) -> list[Mark]:
    """Boxes in the form of BHX (Reis et al. 2020, doi 10.13026/9cft-hg92): a row a box.

    Args:
        path: CSV with SOPInstanceUID, data (``{'x': …, 'y': …, 'width': …, 'height': …}`` in pixels of the image) and labelName
            (a subtype, or "Chronic": a subdural); other columns do not count.
        known: the cohort.
        account: gets the faults.
        track: progress over the rows.

    Raises:
        InputError: the file is no such table.
    """
    rows = table_rows(path)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    missing = [name for name in BOX_COLUMNS if header.count(name) != 1]
    if missing:
        raise InputError(
            f"{path} has no column, or more than one, of the name {', '.join(missing)}: a table of boxes has "
            f"{', '.join(BOX_COLUMNS)}, as BHX's 1_Initial_Manual_Labeling.csv."
        )
    subtypes = {name: name for name in known.labels.subtypes}
    if "subdural" in subtypes:
        subtypes[CHRONIC] = "subdural"
    labels = list(known.labels.columns)
    truth = dict(zip(known.table[UID], known.table[labels].to_dict("records"), strict=True))
    found: dict[tuple[str, str], dict[Box, None]] = {}
    absent: Counter[str] = Counter()
    for line, cells in track(rows, "reading boxes"):
        if len(cells) != len(header):
            account.add(LabelFault.ROW_LENGTH, "", line, f"{len(cells)} values, {len(header)} columns")
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        uid, label = row[UID], subtypes.get(row["labelName"].lower())
        image = known.images.get(uid)
        if label is None:
            account.add(LabelFault.UNKNOWN_LABEL, uid, line, row["labelName"][:80])
        elif image is None:
            absent[row.get(STUDY_COLUMN, "")] += 1
        elif not truth.get(uid, {}).get(label):
            account.add(LabelFault.MARK_WITHOUT_LABEL, uid, line, label)
        elif (box := _box(row["data"], image)) is None:
            account.add(LabelFault.BAD_BOX, uid, line, row["data"][:80])
        else:
            found.setdefault((uid, label), {})[box] = None
    for study, count in absent.items():
        account.add(LabelFault.MARK_WITHOUT_IMAGE, study, detail=f"{count:,} boxes")
    marks = sorted(found.items())
    return [(uid, label, Boxes(*_size(known.images[uid]), tuple(boxes))) for (uid, label), boxes in marks]


def _box(text: str, image: Header) -> Box | None:
    """A cell's box, as much of it as lies in the image; None where that is nothing."""
    try:
        given: Any = ast.literal_eval(text) if len(text) <= LONGEST else None
        x, y, width, height = (float(given[side]) for side in SIDES)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        return None
    rows, columns = _size(image)
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + width, columns), min(y + height, rows)
    if not all(map(math.isfinite, (left, top, right, bottom))) or left >= right or top >= bottom:
        return None
    return Box(left, top, right - left, bottom - top)


def _size(image: Header) -> tuple[int, int]:
    return image.rows or 0, image.columns or 0  # a CT image has both


def read_ctich_masks(folder: Path, known: Labelled, account: LabelAccount, track: Track = quiet) -> list[Mark]:
    """Masks of PhysioNet CT-ICH: ``NNN.nii`` (version 1.3) or ``NNN/brain/S_HGE_Seg.jpg`` (before), NNN the patient, S the slice.

    They say where blood is, not of which kind. Where the slice's labels name one kind, the mask is of that; else of "any".

    Args:
        folder: that holds such files, or the data set's own above it (``masks/``, ``Patients_CT/``).
        known: the cohort; its keys are of the same patients and slices.
        account: gets the faults.
        track: progress over the slices.

    Raises:
        InputError: the folder holds no such file.
    """
    places = [one for one in (folder, folder / "masks", folder / "Patients_CT") if one.is_dir()]
    volumes = {int(p.name.split(".")[0]): p for at in places for p in _numbered(at, ("*.nii", "*.nii.gz"))}
    pictures = [at for at in places if any(at.glob("*/brain/*_HGE_Seg.jpg"))]
    if not volumes and not pictures:
        raise InputError(
            f"{folder} holds no mask of CT-ICH: name the folder with 049.nii … (version 1.3: masks/) or with "
            "049/brain/14_HGE_Seg.jpg … (version 1.0: Patients_CT/)."
        )
    opened: dict[int, Nifti] = {}
    marks: list[Mark] = []
    labels = known.labels
    rows = sorted(known.table.to_dict("records"), key=lambda row: slice_of(str(row[KEY])))  # a head at a time
    for row in track(rows, "reading masks", len(rows)):
        patient, number = slice_of(str(row[KEY]))
        image = known.images[str(row[UID])]
        try:
            if volumes:
                if patient not in volumes:
                    continue
                if patient not in opened:
                    opened = {patient: read_nifti(volumes[patient])}
                drawn = np.asarray(opened[patient].picture(number - 1, image.orientation or STANDARD) > 0)
            else:
                drawn = _picture(pictures[0] / f"{patient:03d}" / "brain" / f"{number}_HGE_Seg.jpg")
            if drawn is None or not drawn.any():
                continue
            mask = _resized(drawn, _size(image))
        except (ValueError, OSError, UnidentifiedImageError) as error:
            account.add(LabelFault.MASK_NOT_READ, str(row[KEY]), detail=" ".join(str(error).split()))
            continue
        kinds = [name for name in labels.subtypes if row[name]]
        if kinds:
            marks.append((str(row[UID]), kinds[0] if len(kinds) == 1 else labels.any, mask))
        else:
            account.add(LabelFault.MARK_WITHOUT_LABEL, str(row[KEY]), detail=f"{int(mask.sum()):,} pixels")
    return sorted(marks, key=lambda mark: mark[0])


def _numbered(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in sorted(folder.glob(pattern)) if path.name.split(".")[0].isdecimal())


def _picture(path: Path) -> NDArray[np.bool_] | None:
    """A mask that was saved as a JPEG: bright is blood; None where the slice has none."""
    if not path.exists():
        return None
    with Image.open(path) as image:
        return np.asarray(image.convert("L")) > 127


def _resized(mask: NDArray[np.bool_], size: tuple[int, int]) -> Mask:
    """The same field in an image's rows and columns, nearest pixel."""
    if mask.shape[0] * size[1] != mask.shape[1] * size[0]:
        raise ValueError(f"a mask of {mask.shape[0]} × {mask.shape[1]} pixels for an image of {size[0]} × {size[1]}")
    rows, columns = (
        (2 * np.arange(length) + 1) * given // (2 * length) for length, given in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
