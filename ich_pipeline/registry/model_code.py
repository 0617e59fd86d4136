"""The registered model's code (MLflow "models from code"): copied into the model and run when it is loaded.

Input: :func:`ich_pipeline.serving.model_input.cases`. Output: a list with one answer a case, see
:mod:`ich_pipeline.serving.answer`; JSON as it is, so that ``mlflow models serve`` gives the same. Parameter ``demonstration``
(false): show what a model of synthetic heads makes of an input that it has no answer for.
"""

# ruff: noqa: E402  # what comes first is for the imports

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

# Compiled files beside a registered version's code could not be told from planted ones. This file was compiled just now.
sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
if Path(__file__).with_name("MLmodel").exists():
    shutil.rmtree(Path(__file__).with_name("__pycache__"), ignore_errors=True)

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ich_pipeline.core.errors import InputError
from ich_pipeline.serving.answer import answer
from ich_pipeline.serving.code import check_code, code_beside
from ich_pipeline.serving.model_input import cases
from ich_pipeline.serving.system import System


class HaemorrhageModel(PythonModel):
    """DICOM slices or HU arrays in; slice and case probabilities, decision, attention maps and prediction basis out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load networks, ensemble and atlas once.

        Raises:
            InputError: a file of the bundle, or of the code that lies beside it, is not what was registered.
        """
        bundle = Path(context.artifacts["bundle"])
        self.system = System.load(bundle)
        check_code(bundle, code_beside(bundle))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Answers in the order in which the cases first appear."""
        try:
            demonstration = bool((params or {}).get("demonstration", False))
            found = []
            for case in cases(model_input):
                read = answer(case.read(self.system, demonstration), uids=True, thumbnails=True)
                found.append({"case": case.case, **read})
            return found
        except InputError as error:  # the caller's mistake: status 400 over REST, not 500
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(HaemorrhageModel())
