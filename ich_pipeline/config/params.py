"""All sections together, and how the file is read."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from ich_pipeline.config import cohort, judging, learning
from ich_pipeline.config.section import Name, Section
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.yaml_text import NoYaml, read_yaml
from ich_pipeline.tables.cohort_names import TESTS
from ich_pipeline.tables.labels import Labels

_EFFICIENTNET = re.compile(r"efficientnet_?b_?\d")  # B0 to B7, of the first version


# What is wrong with ``params.yaml``, as a sentence; which settings there are is in the other files here.


def _known_keys(root: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that the section at ``location`` below ``root`` allows; empty where it is no section."""
    kind: Any = root
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found = [f.annotation for n, f in kind.model_fields.items() if part in (n, f.alias)]
            kind = found[0] if found else None
        else:  # a mapping or a row of sections: the section is its last type that is one
            kind = next((k for k in reversed(get_args(kind)) if isinstance(k, type) and issubclass(k, BaseModel)), None)
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return []
    return [f.alias or n for n, f in kind.model_fields.items()]


def sentence(path: Path, root: type[BaseModel], error: ValidationError) -> str:
    """One sentence about the error that helps most: the key, its value, what is wrong and what to do."""
    # A misspelt key gives two errors, "missing" and "unknown": the second is the one that helps.
    first = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
    location = tuple(first["loc"])
    key = ".".join(str(part) for part in location) or "the file"
    others = len(error.errors()) - 1
    tail = f" ({others} more after it.)" if others else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _known_keys(root, location[:-1]), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "remove it."
        return f"{path}: {key} is not a setting; {hint}{tail}"
    if first["type"] == "missing":
        return f"{path}: {key} is missing; add it (`ich profile --show phantom` prints a complete file).{tail}"
    value = first.get("input")
    shown = "" if isinstance(value, dict) else f" is {value!r}, but"
    message = first["msg"].removeprefix("Value error, ")
    if not location:  # a rule over several sections: its message names them
        return f"{path}: {message}; change that.{tail}"
    return f"{path}: {key}{shown or ':'} {message[0].lower() + message[1:]}; change that value.{tail}"


class Params(Section):
    """All of ``params.yaml``."""

    profile: Name
    seed: Annotated[int, Field(ge=0)]
    labels: cohort.LabelParams
    phantom: cohort.PhantomParams
    ingest: cohort.IngestParams
    validate_: Annotated[cohort.ValidateParams, Field(alias="validate")]
    split: cohort.SplitParams
    windowing: learning.WindowingParams
    architectures: Annotated[tuple[Name, ...], Field(min_length=1)]
    networks: dict[Name, learning.NetworkParams]
    training: learning.TrainingParams
    pretrain: learning.PretrainParams
    head: learning.HeadParams
    interpolation: learning.InterpolationParams
    sequence: learning.SequenceParams
    baselines: learning.BaselineParams
    ablation: Annotated[tuple[Name, ...], Field(min_length=1)]
    ensemble: judging.EnsembleParams
    precedent: judging.PrecedentParams
    tests: Annotated[tuple[Name, ...], Field(min_length=1)]
    evaluation: judging.EvaluationParams
    explain: judging.ExplainParams
    report: judging.ReportParams
    registry: judging.RegistryParams
    gate: judging.GateParams
    watch: judging.WatchParams = judging.WatchParams()
    retrain: judging.RetrainParams

    @model_validator(mode="after")
    def _networks_are_described(self) -> Params:
        named = {field: getattr(self, field) for field in ("architectures", "ablation", "tests")}
        for field, names in {**named, "sequence.architectures": self.sequence.architectures}.items():
            if len(set(names)) != len(names):
                raise ValueError(f"{field} names one twice: {', '.join(names)}")
        plain = [name.replace("_", "") for name in self.architectures]  # vgg_16 is the same network as vgg16
        if len(set(plain)) != len(plain):
            raise ValueError(f"architectures names one twice, written in two ways: {', '.join(self.architectures)}")
        for name in self.tests:
            if name not in TESTS:
                raise ValueError(f"tests names {name!r}, which is no test cohort; there are {' and '.join(TESTS)}")
        for name in self.architectures:
            if name not in self.networks:
                raise ValueError(f"architectures names {name!r}, but networks.{name} is missing")
            if _EFFICIENTNET.fullmatch(name) and self.networks[name].weights not in ("none", "phantom"):
                raise ValueError(
                    f"networks.{name}.weights is {self.networks[name].weights}, but Keras scales the input of this network in "
                    "another way where it downloads the weights itself: take efficientnet_v2b0 to b3, or weights: none"
                )
            size = self.networks[name].image_size
            if size not in self.windowing.sizes:
                raise ValueError(f"networks.{name}.image_size {size} is none of windowing.sizes: add it there")
            batch = self.networks[name].batch_size
            if batch % self.training.accumulate:
                raise ValueError(
                    f"networks.{name}.batch_size {batch} is no multiple of training.accumulate {self.training.accumulate}"
                )
        for name in (*self.ablation, self.explain.architecture):
            if name not in self.architectures:
                raise ValueError(f"ablation or explain names {name!r}, which is none of architectures")
        if self.baselines.random_network not in (None, *self.architectures):
            raise ValueError(
                f"baselines.random_network names {self.baselines.random_network!r}, which is none of architectures"
            )
        for name in self.sequence.architectures:
            if name not in self.architectures:
                raise ValueError(f"sequence.architectures names {name!r}, which is none of architectures")
        return self

    @property
    def label_set(self) -> Labels:
        """The labels as the rest of the package uses them."""
        return Labels(self.labels.any, self.labels.subtypes)


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check a parameter file.

    Raises:
        InputError: one sentence with the file, the key, the value and what to do.
    """
    try:
        raw = read_yaml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run from the project's top folder, or `ich profile phantom`.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as such.") from None
    except NoYaml as error:
        raise InputError(f"{path} is not YAML ({error}): mend that line.") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds no settings: copy a profile over it with `ich profile phantom`.")
    try:
        return Params.model_validate_json(json.dumps({str(key): value for key, value in raw.items()}, default=str))
    except ValidationError as error:
        raise InputError(sentence(Path(path), Params, error)) from None
