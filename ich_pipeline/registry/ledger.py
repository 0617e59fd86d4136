"""The test ledger: every evaluation of a test set, appended to the record and never taken away.

One MLflow run a look, in an experiment of its own: which test, which labels, which model, which results, commit and date.
Each look holds the digest of the one before it, so that an edited or purged look is noticed. A look in MLflow's bin still
counts. Nothing of a patient is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ich_pipeline.core.files import sha256_of
from ich_pipeline.registry import provenance, store
from ich_pipeline.serving.bundle import HEAD_FILES, NETWORK_FILES
from ich_pipeline.serving.content import digest_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "test-ledger"
PREFIX = "ich.look."
START = "0" * 64


@dataclass(frozen=True)
class Look:
    """One evaluation.

    Attributes:
        number: 1, 2, … over all tests.
        test: name of the test.
        test_set: sha256 of its label file (which slices, and what they show).
        model: digest of networks and ensemble, :func:`model_digest`.
        results: sha256 of the metrics that came out.
        commit: of the code, with ``+`` where the sources differed from it; empty outside git.
        when_ms: milliseconds since the epoch, UTC.
        previous: digest of the look before.
    """

    number: int
    test: str
    test_set: str
    model: str
    results: str
    commit: str
    when_ms: int
    previous: str

    @property
    def digest(self) -> str:
        """sha256 over all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class StoredLook(Look):
    """A look as the record holds it.

    Attributes:
        written: the digest that was written with it.
    """

    written: str

    @property
    def digest(self) -> str:
        """sha256 over the fields of the look itself."""
        return Look(**{key: value for key, value in asdict(self).items() if key != "written"}).digest


@dataclass(frozen=True)
class Count:
    """How often a test set was looked at: in all, and by how many different models and results."""

    test: str
    test_set: str
    looks: int
    models: int
    results: int

    @property
    def sentence(self) -> str:
        """For people."""
        times = "once" if self.looks == 1 else f"{self.looks} times"
        models = "one model" if self.models == 1 else f"{self.models} different models"
        return f"{self.test}: this test set has been looked at {times}, with {models}."

    def sentence_after(self, most: int) -> str:
        """The same, and beyond ``most`` looks that it is no longer new."""
        fresh = "`ich tests next` opens a fresh one when it is full"
        tired = f" Models were chosen by it more than {most} times: it is no longer new; {fresh}."
        return self.sentence + (tired if self.looks > most else "")


def record_look(test: str, test_set: str, model: str, results: str) -> Look:
    """Append a look; the arguments are those of :class:`Look`."""
    import time

    client = store.client()
    with store.locked("ledger"):
        before = _read(client)
        git = provenance.git_tags()
        commit = git.get("mlflow.source.git.commit", "") + ("+" if git.get("ich.git_dirty") == "true" else "")
        last = before[-1].digest if before else START
        look = Look(len(before) + 1, test, test_set, model, results, commit, int(time.time() * 1000), last)
        tags = {f"{PREFIX}{key}": str(value) for key, value in asdict(look).items()}
        tags[f"{PREFIX}digest"] = look.digest
        run = client.create_run(
            _experiment(client), start_time=look.when_ms, tags=tags, run_name=f"look {look.number}: {test}"
        )
        client.set_terminated(run.info.run_id, "FINISHED")
    return look


def looks() -> list[StoredLook]:
    """All looks, in order."""
    return _read(store.client())


def broken_at(found: Sequence[StoredLook]) -> int | None:
    """Number of the first look whose place, predecessor or content is not what was appended; None where all are intact."""
    last = START
    for number, look in enumerate(found, start=1):
        if look.number != number or look.previous != last or look.written != look.digest:
            return number
        last = look.digest
    return None


def counts(found: Iterable[Look]) -> list[Count]:
    """By test set, in the order of the first look. Equal content looked at again is one more look, not one more model."""
    found = list(found)
    return [count(*one, found) for one in dict.fromkeys((look.test, look.test_set) for look in found)]


def count(test: str, test_sets: str | Collection[str], found: Iterable[Look]) -> Count:
    """Of one test set, or of several that are one test corrected; no look is none."""
    sets = {test_sets} if isinstance(test_sets, str) else set(test_sets)
    group = [look for look in found if look.test == test and look.test_set in sets]
    return Count(
        test, " ".join(sorted(sets)), len(group), len({g.model for g in group}), len({g.results for g in group})
    )


def model_digest(files: Mapping[str, str]) -> str:
    """One digest of networks, rule and ensemble.

    Args:
        files: sha256 by name (``networks/…``, ``sequence/…``, ``rule/…``, ``ensemble.json``), as
            :func:`ich_pipeline.serving.bundle.read_sources` gives them; others are left out.
    """
    counted = [n for n in files if n.startswith(("networks/", "sequence/", "rule/")) or n == "ensemble.json"]
    return digest_of({name: files[name] for name in counted})


def digest_of_files(
    train: Path, ensemble: Path, architectures: Iterable[str], heads: Iterable[Path] = (), rule: Path | None = None
) -> str:
    """:func:`model_digest` of what evaluate read: ``train/<architecture>/``, the folders of ``heads``, the HU rule, the ensemble."""
    files = {
        f"networks/{name}/{file}": sha256_of(train / name / file) for name in architectures for file in NETWORK_FILES
    }
    files |= {f"sequence/{head.name}/{file}": sha256_of(head / file) for head in heads for file in HEAD_FILES}
    files |= {f"rule/{rule.name}": sha256_of(rule)} if rule else {}
    return model_digest({**files, "ensemble.json": sha256_of(ensemble)})


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        # No artifact is ever put there; the location only keeps MLflow from naming one in the current folder.
        location = (store.MLRUNS.absolute() / "artifacts").as_uri() if store.is_own() else None
        return client.create_experiment(EXPERIMENT, artifact_location=location)
    return found.experiment_id


def _read(client: MlflowClient) -> list[StoredLook]:
    from mlflow.entities import ViewType

    found, token = [], None
    while True:
        page = client.search_runs([_experiment(client)], run_view_type=ViewType.ALL, max_results=1000, page_token=token)
        found += [{k.removeprefix(PREFIX): v for k, v in run.data.tags.items() if k.startswith(PREFIX)} for run in page]
        token = page.token
        if not token:
            break
    kept = [tags for tags in found if "number" in tags]
    made = [
        StoredLook(
            number=int(t["number"]),
            test=t["test"],
            test_set=t["test_set"],
            model=t["model"],
            results=t["results"],
            commit=t["commit"],
            when_ms=int(t["when_ms"]),
            previous=t["previous"],
            written=t["digest"],
        )
        for t in kept
    ]
    return sorted(made, key=lambda look: look.number)
