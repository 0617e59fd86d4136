"""YAML 1.2, read and written as DVC reads and writes it: one file must not mean two things to the two of us."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError


class NoYaml(ValueError):
    """A text is no YAML, or a key stands twice in it; says what is wrong, and where."""


def read_yaml(text: str) -> Any:
    """The value of a document: ``5e-4`` is a number, ``on`` and ``yes`` are texts.

    Raises:
        NoYaml: it is none.
    """
    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise NoYaml(f"{error.problem or error.context}{where}") from None
    except (YAMLError, ValueError, KeyError) as error:  # the last two of a value that is not what it says: !!int abc
        raise NoYaml(" ".join(str(error).split())) from None


def yaml_text(value: Any) -> str:
    """A document in block style, its keys in their order."""
    writer, text = YAML(), io.StringIO()
    writer.default_flow_style = False
    writer.dump(value, text)
    return text.getvalue()
