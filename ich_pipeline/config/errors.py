"""What is wrong with ``params.yaml``, as a sentence; which settings there are is in the other files here."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


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
