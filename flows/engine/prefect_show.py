"""A stage's result and progress as Prefect artifacts. Only imported where a Prefect API answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.states import Failed

# What of a sentence may tell whose a file is, and what stands for it. Rather a word too many than one too few.
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_SECRETS = (
    (re.compile(r"\b(?:[0-2](?:\.\d+){3,}|2\.25\.\d{9,})\b(?:#\d+)?"), "[UID]"),
    # An identifier or a value as a table gave it: a name may stand in a wrong column.
    (re.compile(rf"(?<=InstanceUID )(?:{_QUOTED}|(?!more than|or |and |of )[^'\"\s(].*?(?=[):]| is |$))"), "[UID]"),
    (re.compile(rf"(?<=\bis ){_QUOTED}"), "[VALUE]"),
    (re.compile(r"(?<=\bdata/dicom/)(?:.+(?= cannot be )|[^'\":;]+)"), "[FILE]"),
    # A fault in a library's own words, as flows.engine.boundary says it.
    (re.compile(r"(?<=\bfailed: )(\w+): .*(?= \(the traceback is in )"), r"\1"),
)
PICTURE_BYTES = 1 << 20  # an artifact is a database row; a larger picture is left to the report


def key(*parts: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def redacted(text: str) -> str:
    """The text without what may lead back to a patient, for the server may be another team's.

    DICOM UIDs, values and identifiers that a sentence cites from a table, and names of files below data/dicom.
    """
    for pattern, word in _SECRETS:
        text = pattern.sub(word, text)
    return text


def failed(error: BaseException) -> State:
    """The state for what went wrong: the server learns its type alone, since any sentence may name a patient."""
    return Failed(message=f"{type(error).__name__}: the terminal where it runs, and .state/faults there, say more")


def says_what_went_wrong(line: str, stage: str) -> bool:
    """Is a line of a stage's output DVC's or the stage's own last sentence (which a good stage's result repeats)?"""
    return line.lstrip().startswith(("ERROR", *(f"{stage}{word}:" for word in ("", " failed", " stopped"))))


def publish(title: str, result: dict[str, Any]) -> None:
    """Create the artifacts of a stage's result (the form of ``StageResult.to_json``)."""
    create_markdown_artifact(redacted(result["summary"]), key=key(title), description=f"{title}: what came out")
    for name, rows in result["tables"].items():
        create_table_artifact(rows, key=key(title, name), description=f"{title}: {name}")
    for name, link in result["links"].items():
        create_link_artifact(_address(link), link_text=name, key=key(title, name), description=f"{title}: {name}")
    for name, path in result["pictures"].items():
        picture = Path(path)
        if picture.stat().st_size > PICTURE_BYTES:
            create_link_artifact(_address(path), link_text=name, key=key(title, name), description=f"{title}: {name}")
            continue
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        kind = "svg+xml" if picture.suffix == ".svg" else "png"
        create_image_artifact(f"data:image/{kind};base64,{data}", key=key(title, name), description=f"{title}: {name}")


def _address(link: str) -> str:
    return link if "://" in link else Path(link).absolute().as_uri()


def progress_artifact(title: str, description: str) -> Callable[[float, str], None]:
    """A progress artifact; the function returned moves it (fraction 0..1, what is going on)."""
    created = create_progress_artifact(0.0, key=key(title, "progress"), description=description)
    artifact = created if isinstance(created, UUID) else UUID(str(created))

    def report(fraction: float, text: str) -> None:
        update_progress_artifact(artifact, progress=round(100 * fraction, 1), description=text)

    return report
