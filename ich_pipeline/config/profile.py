"""``ich profile``: packaged parameter files, and putting one in the place of ``params.yaml``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ich_pipeline.config import load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_text

PARAMS = Path("params.yaml")


def profiles() -> dict[str, str]:
    """Text of every packaged profile by name."""
    folder = files("ich_pipeline") / "profiles"
    found = {Path(entry.name).stem: entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def profile_text(name: str) -> str:
    """Text of a profile; InputError lists those that there are."""
    found = profiles()
    if name not in found:
        raise InputError(f"There is no profile {name!r}; choose one of {', '.join(found)}.")
    return found[name]


def current() -> str:
    """Name of the profile that ``params.yaml`` is a copy of, or ``"<name>, edited"``; InputError where it is not valid."""
    text = PARAMS.read_text(encoding="utf-8") if PARAMS.is_file() else ""
    name = load_params(PARAMS).profile
    return name if profiles().get(name) == text else f"{name}, edited"


def switch(name: str) -> str:
    """Copy a profile over ``params.yaml``; an edited file is kept as ``params.yaml.bak``. Returns what was done."""
    text = profile_text(name)
    before = PARAMS.read_text(encoding="utf-8") if PARAMS.is_file() else None
    if before == text:
        return f"{PARAMS} is profile {name} already."
    kept = ""
    if before is not None and before not in profiles().values():
        backup = PARAMS.with_name(f"{PARAMS.name}.bak")
        if backup.exists() and backup.read_text(encoding="utf-8") != before:
            raise InputError(f"{backup} holds other settings, and {PARAMS} would take its place: rename it.")
        write_text(backup, before)
        kept = f" Your edited settings are kept in {backup}."
    write_text(PARAMS, text)
    return f"{PARAMS} is now profile {name}.{kept} Next: `make repro`."
