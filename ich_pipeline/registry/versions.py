"""Registered versions and their aliases: ``challenger`` (of the newest content) and ``champion`` (the live one)."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir
from ich_pipeline.registry import remembered, signature, store
from ich_pipeline.registry.remembered import Version
from ich_pipeline.serving.code import BUNDLE, IN_MODEL, check_code
from ich_pipeline.serving.content import MANIFEST, check_sealed, content_of, refuse_compiled

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CONTENT = "ich.content"  # tag of a version: digest of its bundle
FILES = "ich.files"  # tag of a version: digest of all its files, those of MLflow among them
CAUTION = "ich.caution"  # tag of a version: what its tests do not show
HEADLINE = "ich.metric."  # prefix of the tags that hold its headline metrics
MODEL = "ich.model"  # tag of a version: digest of its networks and ensemble, as the test ledger names them
PROFILE = "ich.profile"
SIGNATURE = "ich.signature"  # tag of a version: of its name, content and files, where a key was given
TEST = "ich.test."  # prefix of the tags that say which cases a test had: SHA-256 of its sealed labels
CHALLENGER = "challenger"
CHAMPION = "champion"
FETCHED = Path(".state/models")
_PLAIN = re.compile(r"[\w .-]+")
_ADDED = ("registered_model_meta",)  # by MLflow, to a copy that it fetches
REMEDY = "`python -m flows.register` registers the content of work/ anew"


def versions(name: str) -> list[Version]:
    """All versions of a model, newest first; empty when it has none."""
    known = remembered.recall(name)
    if known is not None:
        return known
    client = store.client()
    remembered.settle()
    before = remembered.state()
    found = [_version(client, one) for one in _search(client, name)]
    remembered.keep(name, found, before)
    return found


def with_content(name: str, digest: str) -> Version | None:
    """The version with this content whose files are there and as they were registered, or None."""
    return next((v for v in versions(name) if v.content == digest and _intact(v)), None)


def numbers_by_model(name: str) -> dict[str, int]:
    """The newest version of each model digest of the test ledger; versions registered before the ledger have none."""
    client = store.client()
    return {v.tags[MODEL]: int(v.version) for v in reversed(_search(client, name)) if MODEL in v.tags}


def set_alias(name: str, alias: str, number: int) -> None:
    """Move an alias to a version."""
    store.client().set_registered_model_alias(name, alias, str(number))
    versions(name)  # the next prediction need not ask


def live(name: str) -> Version:
    """The version that predictions use: ``champion``, or ``challenger`` while there is no champion.

    Raises:
        InputError: the model has neither.
    """
    found = versions(name)
    for alias in (CHAMPION, CHALLENGER):
        for version in found:
            if alias in version.aliases:
                return version
    raise InputError(
        f"No version of {name} in MLflow at {store.shown_uri()} has the alias {CHAMPION} or {CHALLENGER}: "
        "run `make repro`, which registers one."
    )


def resolve(text: str, default_name: str) -> Version:
    """What a person means by ``NAME``, ``NAME/ALIAS``, ``NAME/NUMBER``, ``ALIAS`` or ``NUMBER``."""
    name, _, which = text.rpartition("/")
    name = name or default_name
    found = versions(name)
    for version in found:
        if which == str(version.number) or which in version.aliases:
            return version
    if "/" not in text and versions(text):
        return live(text)
    known = ", ".join(f"{name}/{a}" for v in found for a in (*v.aliases, str(v.number))) or "none"
    raise InputError(f"--model {text!r} is no registered version; there is {known} (`ich models` lists them).")


def candidate(name: str, number: int | None = None) -> tuple[Version, Version | None]:
    """The version that is to become ``champion``, its files checked, and the present champion.

    Args:
        name: of the model.
        number: None for the challenger's.

    Raises:
        InputError: there is no challenger, no version ``number``, or its files are not those that were registered.
    """
    found = versions(name)
    if number is None:
        target = next((v for v in found if CHALLENGER in v.aliases), None)
        if target is None:
            raise InputError(f"{name} has no version with the alias {CHALLENGER} to promote: run `make repro` first.")
    else:
        target = next((v for v in found if v.number == number), None)
        if target is None:
            known = ", ".join(str(v.number) for v in reversed(found)) or "none"
            raise InputError(f"--version {number} is no version of {name}; registered: {known}.")
    verified_folder(target)
    return target, next((v for v in found if CHAMPION in v.aliases), None)


def move(target: Version, before: Version | None) -> str:
    """Move ``champion`` to ``target``; says from which version to which, and what its tests do not show.

    The gate and the log are :mod:`ich_pipeline.registry.promotion`'s.
    """
    caution = f" Caution: {target.caution}" if target.caution else ""
    if before is not None and before.number == target.number:
        return f"{CHAMPION} of {target.name} is version {target.number} already; nothing moved.{caution}"
    set_alias(target.name, CHAMPION, target.number)
    if before is None:
        return f"{CHAMPION} of {target.name} is now version {target.number}; before there was none.{caution}"
    return f"{CHAMPION} of {target.name} moved from version {before.number} to version {target.number}.{caution}"


def model_folder(version: Version) -> Path:
    """The version's files on this machine; fetched into ``.state/models/`` where the store is elsewhere.

    Raises:
        InputError: they are gone.
    """
    uri = version.uri
    local = local_folder(uri)
    if local is None:
        import mlflow.artifacts

        target = FETCHED / version.content
        if not target.is_dir():
            with atomic_dir(target) as partial:
                mlflow.artifacts.download_artifacts(uri, dst_path=str(partial), tracking_uri=store.tracking_uri())
        local = target
    found = next(local.rglob("MLmodel"), None) if local.is_dir() else None
    if found is None:
        raise InputError(f"{version.name} version {version.number} has lost its files ({local}): {REMEDY}.")
    return found.parent


def verified_folder(version: Version) -> Path:
    """:func:`model_folder`, once every file in it is found to be what was registered: weights, thresholds, atlas, settings,
    code, and what MLflow adds.

    Raises:
        InputError: they are gone, one of them was changed, the version is of a time when nobody wrote down what they were, or
            a key is configured (:mod:`~ich_pipeline.registry.signature`) that did not sign it.
    """
    called = f"{version.name} version {version.number}"
    if not (version.content and version.files):
        raise InputError(
            f"{called} was registered without a digest of all its files, so nobody can say whether they are as they were: {REMEDY}."
        )
    signature.check(version)
    folder = model_folder(version)
    try:
        refuse_compiled(folder)
        found = content_of(folder, _ADDED)
        check_sealed(folder / BUNDLE, version.content, found.below(BUNDLE, (MANIFEST,)))
        check_code(folder / BUNDLE, folder / IN_MODEL, found.below(IN_MODEL))
        if found.digest != version.files:
            raise InputError(f"a file beside the bundle was changed since the model was registered: {REMEDY}.")
    except InputError as error:
        fetched = f"; {folder} is a copy: remove it, and it is fetched again" if FETCHED in folder.parents else ""
        raise InputError(f"{called} is not what was registered: {str(error).removesuffix('.')}{fetched}.") from None
    return folder


def note_files(name: str, number: int) -> None:
    """Write down beside a version that was made just now what its files are; signed, where there is a key."""
    client = store.client()
    made = _version(client, client.get_model_version(name, str(number)))
    files = content_of(model_folder(made), _ADDED).digest
    if signed := signature.sign(name, made.content, files):
        client.set_model_version_tag(name, str(number), SIGNATURE, signed)
    client.set_model_version_tag(name, str(number), FILES, files)


def _intact(version: Version) -> bool:
    try:
        verified_folder(version)
    except InputError as error:
        logging.getLogger(__name__).warning("%s", error)
        return False
    return True


def local_folder(uri: str) -> Path | None:
    """Where files lie on this machine; None where they lie elsewhere."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if parts.scheme == "" else None


def _search(client: MlflowClient, name: str) -> list[ModelVersion]:
    from mlflow.store.entities import PagedList

    found: list[ModelVersion] = []
    token: str | None = None
    # A filter has no way to write a quote within quotes.
    only = f"name='{name}'" if _PLAIN.fullmatch(name) else None
    while True:
        page: PagedList[ModelVersion] = client.search_model_versions(only, page_token=token)
        found += [version for version in page if version.name == name]
        token = page.token
        if not token:
            return sorted(found, key=lambda v: int(v.version), reverse=True)


def _version(client: MlflowClient, found: ModelVersion) -> Version:
    # A search does not fill in the aliases in every kind of store; asking for the version does.
    whole = client.get_model_version(found.name, found.version)
    tags = whole.tags
    return Version(
        name=whole.name,
        number=int(whole.version),
        aliases=tuple(sorted(whole.aliases)),
        content=tags.get(CONTENT, ""),
        metrics={k.removeprefix(HEADLINE): v for k, v in sorted(tags.items()) if k.startswith(HEADLINE)},
        profile=tags.get(PROFILE, ""),
        created_ms=int(whole.creation_timestamp or 0),
        caution=tags.get(CAUTION, ""),
        files=tags.get(FILES, ""),
        uri=client.get_model_version_download_uri(whole.name, whole.version),
        tests={k.removeprefix(TEST): v for k, v in sorted(tags.items()) if k.startswith(TEST)},
        signature=tags.get(SIGNATURE, ""),
    )
