"""params.yaml: every fault is one sentence that names file, key, value and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import ich_pipeline
from ich_pipeline.config import load_params
from ich_pipeline.core.errors import InputError

PROFILES = sorted((Path(ich_pipeline.__file__).parent / "profiles").glob("*.yaml"))
PHANTOM = next(path for path in PROFILES if path.stem == "phantom")


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profiles_are_valid_and_named_after_their_file(path: Path) -> None:
    params = load_params(path)
    assert params.profile == path.stem
    assert params.label_set.columns[0] == params.labels.any
    assert params.label_set.subtypes == params.labels.subtypes


def put(dotted: str, value: Any) -> Callable[[dict], None]:
    def change(params: dict) -> None:
        *sections, key = dotted.split(".")
        for name in sections:
            params = params[name]
        params[key] = value

    return change


def drop(dotted: str) -> Callable[[dict], None]:
    def change(params: dict) -> None:
        *sections, key = dotted.split(".")
        for name in sections:
            params = params[name]
        del params[key]

    return change


WRONG: dict[str, tuple[Callable[[dict], None], str]] = {
    "unknown key": (put("training.colour", 1), "training.colour is not a setting; remove it."),
    "unknown section": (put("sandwich", {}), "sandwich is not a setting; remove it."),
    "decay that nothing reads": (
        put("training.weight_decay", 0.01),
        "training: weight_decay 0.01 counts with the optimizer adamw alone, found adam: set optimizer: adamw, or weight_decay: 0; change that value.",
    ),
    "missing key": (
        drop("training.patience"),
        "training.patience is missing; add it (`ich profile --show phantom` prints a complete file).",
    ),
    "wrong type": (put("seed", "seven"), "seed is 'seven', but input should be a valid integer; change that value."),
    "number as text": (
        put("networks.vgg16.epochs", "1"),
        "networks.vgg16.epochs is '1', but input should be a valid number; change that value.",
    ),
    "out of range": (
        put("validate.label_coverage", 1.5),
        "validate.label_coverage is 1.5, but input should be less than or equal to 1; change that value.",
    ),
    "a share of a share": (
        put("ingest.pixels.contrast_quartile", 1.5),
        "ingest.pixels.contrast_quartile is 1.5, but input should be less than or equal to 1; change that value.",
    ),
    "not a choice": (
        put("training.optimizer", "adagrad"),
        "training.optimizer is 'adagrad', but input should be 'nesterov', 'adam' or 'adamw'; change that value.",
    ),
    "repeated label": (
        put("labels.subtypes", ["any", "subdural"]),
        "labels: label names must differ, found any, any, subdural; change that value.",
    ),
    "label named as a column": (
        put("labels.subtypes", ["degree"]),
        "labels: 'degree' is a column of the prediction tables: choose another label name; change that value.",
    ),
    "steps that are none": (
        lambda params: params["training"].update(schedule="step", step_decay=[]),
        "training: schedule is step, but step_decay names no step: name one, or set schedule: constant; change that value.",
    ),
    "unknown window": (
        put("windowing.single", "bone"),
        "windowing: single window 'bone' is none of brain, subdural, stroke; change that value.",
    ),
    "candidates": (
        put("interpolation.candidates", [0.1, 0.2]),
        "interpolation: candidates must rise and begin with 0 (no interpolation); change that value.",
    ),
    "no room": (
        put("split.validation", 0.8),
        "split: validation and tests take 1.02 of the patients, which leaves too few to train on; change that value.",
    ),
}


def test_a_file_of_an_earlier_version_has_the_quartile_of_today() -> None:
    assert (
        "contrast_quartile" not in PHANTOM.read_text() and load_params(PHANTOM).ingest.pixels.contrast_quartile == 0.15
    )


@pytest.mark.parametrize("name", WRONG)
def test_one_sentence_for_each_fault(tmp_path: Path, name: str) -> None:
    change, sentence = WRONG[name]
    params = yaml.safe_load(PHANTOM.read_text(encoding="utf-8"))
    change(params)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path}: {sentence}"


@pytest.mark.parametrize(
    ("right", "misspelt"),
    [
        ("training.patience", "patiense"),
        ("networks.vgg16.batch_size", "batchsize"),
        ("evaluation", "evalution"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_right_one(tmp_path: Path, right: str, misspelt: str) -> None:
    params = yaml.safe_load(PHANTOM.read_text(encoding="utf-8"))
    section = params
    *path_to, key = right.split(".")
    for name in path_to:
        section = section[name]
    section[misspelt] = section.pop(key)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(path)
    dotted = ".".join([*path_to, misspelt])
    assert str(caught.value) == f"{path}: {dotted} is not a setting; did you mean {key!r}? (1 more after it.)"


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("architectures: [vgg16, vgg16]", "architectures names one twice: vgg16, vgg16"),
        (
            "architectures: [vgg16, vgg_16]",
            "architectures names one twice, written in two ways: vgg16, vgg_16",
        ),
        (
            "architectures: [vgg16, densenet121]",
            "architectures names 'densenet121', but networks.densenet121 is missing",
        ),
        (
            "architectures: [efficientnet_b0]\nnetworks: {efficientnet_b0: {image_size: 48, epochs: 1, batch_size: 2, "
            "learning_rate: 0.1, weights: imagenet}}",
            "networks.efficientnet_b0.weights is imagenet, but Keras scales the input of this network in another way where it "
            "downloads the weights itself: take efficientnet_v2b0 to b3, or weights: none",
        ),
        ("ablation: [mobilenet]", "ablation or explain names 'mobilenet', which is none of architectures"),
        (
            "sequence: {architectures: [mobilenet], units: 1, dropout: 0, learning_rate: 1, batch_cases: 1, "
            "epochs: 1, patience: 1}",
            "sequence.architectures names 'mobilenet', which is none of architectures",
        ),
    ],
)
def test_names_must_fit_together(tmp_path: Path, section: str, sentence: str) -> None:
    params = yaml.safe_load(PHANTOM.read_text(encoding="utf-8")) | yaml.safe_load(section)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path}: {sentence}; change that."


def test_missing_broken_and_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path} is missing: run from the project's top folder, or `ich profile phantom`."
    for text, words in (
        ("seed: [1\n", "did not find expected ',' or ']', line 2, column 1"),
        ("seed: 1\nseed: 2\n", 'found duplicate key "seed" with value "2" (original value: "1"), line 2, column 1'),
        ("seed: \a", "unacceptable character #x0007: control characters are not allowed"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load_params(path)
        assert words in str(caught.value) and str(caught.value).startswith(f"{path} is not YAML (")
        assert str(caught.value).endswith("): mend that line.")
    path.write_text("")
    with pytest.raises(InputError, match="holds no settings"):
        load_params(path)


def test_any_three_windows_and_other_labels_may_be_named(tmp_path: Path) -> None:
    params = yaml.safe_load(PHANTOM.read_text(encoding="utf-8"))
    params["labels"] = {"any": "finding", "subtypes": ["nodule"]}
    params["windowing"]["windows"][0]["name"] = params["windowing"]["single"] = "lung"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    assert load_params(path).label_set.columns == ("finding", "nodule")


def test_numbers_with_an_exponent_are_numbers_as_dvc_reads_them(tmp_path: Path) -> None:
    text = PHANTOM.read_text().replace("learning_rate: 0.0005", "learning_rate: 5e-4")
    (tmp_path / "params.yaml").write_text(text)
    assert load_params(tmp_path / "params.yaml") == load_params(PHANTOM)


@pytest.mark.parametrize("text", ["on", "yes", "off"])
def test_words_are_no_truth_values_as_dvc_reads_them(tmp_path: Path, text: str) -> None:
    """YAML 1.1 takes them for true and false; a setting that is one must say true or false."""
    (tmp_path / "params.yaml").write_text(PHANTOM.read_text().replace("seed: ", f"seed: {text} # "))
    with pytest.raises(InputError, match=rf"params.yaml: seed is '{text}', but input should be a valid integer"):
        load_params(tmp_path / "params.yaml")
