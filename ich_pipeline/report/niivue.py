"""The viewer of the case page: NiiVue, as the installed package ipyniivue brings it. Nothing of its code lies in this repository.

ipyniivue's ``static/widget.js`` is NiiVue and a Jupyter widget in one ES module that exports the widget alone. A page needs
the class of NiiVue itself, so the module's last statement, its export, is replaced by one that hands the class out. Which
class that is, the widget says where it makes one. Both places are known for one version only, so that version is asked for.
"""

from __future__ import annotations

import base64
import importlib.util
import re
import zlib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ich_pipeline.core.errors import InputError

PACKAGE, VERSION = "ipyniivue", "2.4.4"
AGAIN = f'install it again with `pip install "{PACKAGE}=={VERSION}"`'
_MADE = re.compile(r'"Creating new Niivue instance"\);let \w+=[^;]{1,200};\w+=new (\w+)\(\w+\)')
_EXPORT = re.compile(r"export\{\w+ as default\};\s*\Z")
LEVEL = 3  # of zlib: 0.08 s and 1.78 MB; 6 takes 0.2 s for 1.60 MB, and each process pays it


class Viewer(NamedTuple):
    """What a page inlines.

    Attributes:
        script: base64 of the deflated script, which puts the class at ``globalThis.Niivue``.
        licence: its licence, which has to stand wherever it is copied to.
    """

    script: str
    licence: str


@cache
def viewer() -> Viewer:
    """The script and its licence; read once a process, without importing the package.

    Raises:
        InputError: ipyniivue is not installed, is of another version, or is damaged.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"The case page's viewer comes from the package {PACKAGE}, which is not installed: {AGAIN}.")
    version = metadata.version(PACKAGE)
    if version != VERSION:
        raise InputError(f"The case page's viewer is made from {PACKAGE} {VERSION}, installed is {version}: {AGAIN}.")
    path = Path(next(iter(found.submodule_search_locations))) / "static" / "widget.js"
    try:
        module = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}, the case page's viewer, cannot be read ({error}): {AGAIN}.") from None
    script = with_class(module, path)
    return Viewer(base64.b64encode(zlib.compress(script.encode(), LEVEL)).decode("ascii"), _licence())


def with_class(module: str, path: Path) -> str:
    """The module as a classic script that puts NiiVue's class at ``globalThis.Niivue``.

    Args:
        module: text of ``widget.js``.
        path: where it came from, for the sentence.

    Raises:
        InputError: the class or the export is not where this version has them.
    """
    made, export = _MADE.search(module), _EXPORT.search(module)
    if made is None or export is None:
        lacks = "the place where the widget makes a viewer" if made is None else "the export at its end"
        raise InputError(f"{path} lacks {lacks}, which {PACKAGE} {VERSION} has: {AGAIN}.")
    # In a function: a script's own names would otherwise be the page's.
    return f"(()=>{{{module[: export.start()]}globalThis.Niivue={made[1]};}})();"


def _licence() -> str:
    """The text of the licence file that was installed with the package."""
    for file in metadata.files(PACKAGE) or []:
        if file.name == "LICENSE":
            return file.read_text(encoding="utf-8").strip()
    raise InputError(f"{PACKAGE} is installed without its licence, which each page has to show: {AGAIN}.")
