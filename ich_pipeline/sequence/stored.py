"""What stage sequence leaves: ``heads.json``, and for each network with a head a folder with it and its validation answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, write_json

if TYPE_CHECKING:
    from ich_pipeline.sequence.reading import SequenceReader
    from ich_pipeline.training.network import Network

SCHEMA = "sequence/1"
LIST_FILE = "heads.json"
VALIDATION_FILE = "validation.parquet"


def write_list(folder: Path, epochs: Mapping[str, int]) -> None:
    """Write ``heads.json``: the epoch that validation chose, by architecture; none where no head is wanted."""
    write_json(folder / LIST_FILE, {"schema": SCHEMA, "epochs": dict(epochs)})


def read_list(folder: Path) -> dict[str, int]:
    """The chosen epoch by architecture. A head of epoch 0 changes nothing.

    Raises:
        InputError: the file is missing or of another version.
    """
    values = read_json(folder / LIST_FILE)
    found = values.get("schema") if isinstance(values, dict) else None
    if found != SCHEMA:
        raise InputError(
            f"{folder / LIST_FILE} has schema {found!r} where this version reads {SCHEMA!r}: run `dvc repro -f sequence`."
        )
    return values["epochs"]


def candidates(folder: Path) -> tuple[str, ...]:
    """Architectures whose head says something of its own: validation chose an epoch after the start."""
    return tuple(name for name, epoch in read_list(folder).items() if epoch > 0)


def readers(folder: Path, networks: Mapping[str, Network], names: tuple[str, ...]) -> dict[str, SequenceReader]:
    """The heads of these architectures, joined to their networks.

    Raises:
        InputError: a file is missing or broken, or a head and its network do not belong together.
    """
    return dict(_readers(folder, networks, names))


def _readers(
    folder: Path, networks: Mapping[str, Network], names: tuple[str, ...]
) -> Iterator[tuple[str, SequenceReader]]:
    if names:  # TensorFlow comes with these
        from ich_pipeline.sequence.head import SequenceHead
        from ich_pipeline.sequence.reading import SequenceReader

        for name in names:
            if name not in networks:
                raise InputError(
                    f"{folder / LIST_FILE} names the network {name}, which params.yaml does not: run `dvc repro sequence`."
                )
            yield name, SequenceReader(networks[name], SequenceHead.load(folder / name))
