"""Who becomes champion: what the gate says, the move, the way back, and what may be removed. Every move is in the log."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.gate.judge import Judgement, judge, undecided
from ich_pipeline.registry import history, store, tested, versions
from ich_pipeline.registry.history import Entry
from ich_pipeline.registry.remembered import Version

GATE = "ich.gate"  # tag of a version: what the gate said of it last, and beside which champion
LOCK = "register"  # a version is neither made nor removed while another is promoted


def judged(params: Params, number: int | None = None, *, note: bool = False) -> Judgement:
    """What the gate says of the challenger, or of version ``number``; the champion itself is held to the floors.

    Args:
        params: of the project.
        number: None for the challenger's.
        note: write the verdict beside the version, tag :data:`GATE`.

    Raises:
        InputError: there is no such version, or its files are not those that were registered.
    """
    target, champion = versions.candidate(params.registry.model_name, number)
    found = _judgement(params, target, champion)
    if note:
        rival = champion if champion and champion.number != target.number else None
        beside = f"champion version {rival.number}" if rival else "the floors"
        said = f"{found.verdict} ({beside}, {found.test})"
        store.client().set_model_version_tag(target.name, str(target.number), GATE, said)
        versions.versions(target.name)  # the next prediction need not ask
    return found


def promote(
    params: Params, number: int | None = None, *, override: bool = False, reason: str = "", person: str = ""
) -> str:
    """Make the challenger, or version ``number``, the champion where the gate lets it pass; says what was done.

    Args:
        params: of the project.
        number: None for the challenger's.
        override: promote against the gate.
        reason: why; needed for ``override``.
        person: who does it; empty for the user of the operating system.

    Raises:
        InputError: the gate refuses, ``override`` is without a reason, there is no such version, or its files are not those
            that were registered.
    """
    name = params.registry.model_name
    if override and not reason.strip():
        raise InputError("--override needs --reason TEXT: it is what the log keeps of a promotion against the gate.")
    with store.locked(LOCK):
        target, champion = versions.candidate(name, number)
        if champion is not None and champion.number == target.number:
            return versions.move(target, champion)
        found = _judgement(params, target, champion)
        if not found.passes and not override:
            raise InputError(
                f"the gate refuses version {target.number} of {name}: {found.sentence}. "
                "`ich promote --override --reason TEXT` promotes it all the same and keeps the reason."
            )
        what = "promote" if found.passes else "override"
        said = _logged(
            Entry(
                0,
                what,
                name,
                target.number,
                target.content,
                *_by(champion, person),
                reason.strip(),
                _kept(found, params),
            )
        )
        return f"{versions.move(target, champion)} Gate: {found.sentence}.{said}"


def rollback(params: Params, *, reason: str = "", person: str = "") -> str:
    """Make the champion before the present one the champion again; the gate is not asked. Says what was done.

    Raises:
        InputError: the log knows none, or the files of that version are not those that were registered.
    """
    name = params.registry.model_name
    with store.locked(LOCK):
        present = next((v.number for v in versions.versions(name) if versions.CHAMPION in v.aliases), None)
        number = history.champion_before(history.read().entries, name, present)
        if number is None:
            raise InputError(
                f"{name} has no earlier champion in {history.place()}: `ich promote --version N` names one."
            )
        target, champion = versions.candidate(name, number)
        said = _logged(Entry(0, "rollback", name, number, target.content, *_by(champion, person), reason.strip()))
        return f"{versions.move(target, champion)}{said}"


@dataclass(frozen=True)
class Pruning:
    """What stays, each version with the reason, and what goes; newest first."""

    kept: tuple[tuple[Version, str], ...]
    removed: tuple[Version, ...]


def prunable(name: str, days: int, newest: int) -> Pruning:
    """Which versions may go.

    Those stay that carry an alias, the ``newest``, those that were champion within ``days``, and the one that a rollback
    would go back to.
    """
    entries = history.read().entries
    until = datetime.now(UTC)
    champions = {
        p.version
        for p in history.periods(entries, name)
        if p.overlaps(until - timedelta(days=days), until + timedelta(seconds=1))
    }
    back = history.champion_before(entries, name)
    kept: list[tuple[Version, str]] = []
    removed: list[Version] = []
    for place, version in enumerate(versions.versions(name)):
        reason = (
            ", ".join(version.aliases)
            or (f"champion within {days} days" if version.number in champions else "")
            or ("a rollback goes back to it" if version.number == back else "")
            or (f"one of the newest {newest}" if place < newest else "")
        )
        if reason:
            kept.append((version, reason))
        else:
            removed.append(version)
    return Pruning(tuple(kept), tuple(removed))


def prune(name: str, days: int, newest: int, person: str = "") -> Pruning:
    """Remove the versions that :func:`prunable` names, with their files; they are in the log.

    Raises:
        InputError: the files of one lie outside this project, or the log, which says what a rollback needs, is not whole.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with store.locked(LOCK):
        plan = prunable(name, days, newest)
        _refuse_without_log(name, plan)
        _refuse_files_elsewhere(plan.removed)
        if not plan.removed:
            return plan
        champion = next((v for v, _ in plan.kept if versions.CHAMPION in v.aliases), None)
        numbers = [version.number for version in plan.removed]
        _logged(Entry(0, "prune", name, None, "", *_by(champion, person), removed=numbers))
        client = store.client()
        for version in plan.removed:  # the files first: what is stopped between is found again by the next
            model_id = client.get_model_version(name, str(version.number)).model_id
            get_artifact_repository(version.uri).delete_artifacts()
            if version.content and version.content not in {stays.content for stays, _ in plan.kept}:
                shutil.rmtree(versions.FETCHED / version.content, ignore_errors=True)
            if model_id:
                with contextlib.suppress(MlflowException):  # purged already
                    client.delete_logged_model(model_id)
            client.delete_model_version(name, str(version.number))
        versions.versions(name)
        return plan


def _refuse_without_log(name: str, plan: Pruning) -> None:
    log = history.read()
    wrong = history.fault(log, name)
    if (
        not wrong
        and any(versions.CHAMPION in v.aliases for v, _ in plan.kept)
        and not history.periods(log.entries, name)
    ):
        wrong = f"{history.place()} has no entry of {name}, which has a champion"
    if wrong:
        raise InputError(
            f"{wrong}; it says what a rollback needs, so nothing was removed: put the file back from a copy."
        )


def _refuse_files_elsewhere(removed: Sequence[Version]) -> None:
    """MLflow writes down whole paths: the record of a copied project names the files of the one that it was copied from."""
    for version in removed:
        folder = versions.local_folder(version.uri)
        if folder is not None and not folder.is_relative_to(store.MLRUNS.absolute()):
            raise InputError(
                f"the files of version {version.number} lie in {folder}, outside this project's {store.MLRUNS}/: another "
                "project may need them, so nothing was removed."
            )


def _kept(found: Judgement, params: Params) -> dict[str, Any]:
    """What the log keeps of the gate, its settings among it: a margin that was widened for one promotion stays there."""
    return {**found.to_json(), "params": params.gate.model_dump()}


def _judgement(params: Params, target: Version, champion: Version | None) -> Judgement:
    test = params.gate.test
    try:
        challenger = tested.fetch(target, test)
        before = tested.fetch(champion, test) if champion and champion.number != target.number else None
    except InputError as error:
        return undecided(test, "case scores", str(error).removesuffix("."))
    return judge(challenger, before, params.gate, params.seed)


def _by(champion: Version | None, person: str) -> tuple[int | None, str, str]:
    """``previous``, ``person`` and ``when`` of an entry."""
    return champion.number if champion else None, person.strip() or _user(), history.now()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"


def _logged(entry: Entry) -> str:
    """Append the entry; a caution where the log is not what was written: to go back must stay possible all the same."""
    wrong = history.fault(history.read(), entry.model)
    history.append(entry)
    return f" Caution: {wrong}." if wrong else ""
