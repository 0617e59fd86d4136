"""What a registered model carries for whoever serves it: an example of its input, its answer to that, and a document of both."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.phantom.draw import Draw
from ich_pipeline.phantom.head import Head
from ich_pipeline.phantom.render import FIELD_OF_VIEW_MM, render
from ich_pipeline.serving import answer, model_input
from ich_pipeline.serving.golden import golden
from ich_pipeline.serving.system import System

DOCUMENT = "input.md"
SIZE = 96  # pixels of the example's slices
HEIGHTS_MM = (-20.0, 0.0, 20.0, 40.0)  # of its slices, in the head
SPACING_MM = (FIELD_OF_VIEW_MM / SIZE, FIELD_OF_VIEW_MM / SIZE)

CALLS = """\
# Input and answer

The model is an MLflow pyfunc. In Python:

    model = mlflow.pyfunc.load_model("models:/NAME/champion")
    table = pd.DataFrame({"dicom": [path.read_bytes() for path in paths]})  # one study or more, a row a file
    (first, *others) = model.predict(table)
    first["sentence"], first["probabilities"]["any"], first["slices"][0]["attention"]

Served (`mlflow models serve`), bytes are base64 text:

    POST /invocations
    {"dataframe_split": {"columns": ["dicom"], "data": [["<base64>"], …]}, "params": {"demonstration": false}}

What is no such input is answered with status 400 and one sentence. The example (`input_example.json`) is a synthetic head
as arrays in HU; a model of synthetic heads answers arrays with `demonstration` alone, since nothing says whose they are.

## Input
"""


def example_input() -> pd.DataFrame:
    """One case of the model's input: slices of a synthetic head without noise, as arrays in HU with positions and spacing."""
    rows = []
    for hu, height in zip(_example_hu(), HEIGHTS_MM, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, hu, allow_pickle=False)
        rows.append((buffer.getvalue(), height, *SPACING_MM, "example"))
    columns = pd.Index(["hu", "position_mm", *model_input.SPACING, "case"])
    return pd.DataFrame(rows, columns=columns)


def example_answer(bundle: Path) -> dict[str, Any]:
    """What a bundle answers to the example, as :mod:`ich_pipeline.serving.golden` keeps it."""
    positions_mm = np.array(HEIGHTS_MM)
    return golden(System.load(bundle).read_hu(_example_hu(), positions_mm, "example", SPACING_MM, demonstration=True))


def _example_hu() -> NDArray[np.int16]:
    head = Head.drawn(Draw("example of the model's input"))
    return np.stack([np.rint(render(head, (), height, SIZE).hu).astype(np.int16) for height in HEIGHTS_MM])


def input_document() -> str:
    """How to call the model, what it takes and what it answers (Markdown)."""
    about = (model_input.cases.__doc__ or "").split("Args:")[1]
    taken, refused = (" ".join(part.split()) for part in about.split("Raises:"))
    parts = (taken.replace("table: one row", "A table: one row", 1), refused.replace("InputError:", "Refused:", 1))
    answered = (answer.__doc__ or "").replace("\n::\n", "\n")
    return "\n\n".join((CALLS.strip(), *parts, "## Answer, a list with one a case", answered.strip())) + "\n"
