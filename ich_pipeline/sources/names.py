"""Names of files and archive members as the account shows them. They are never used to write a file."""

from __future__ import annotations

import re

LONGEST = 1000  # characters of a name that the account shows; a zip allows 65,535 bytes
_DRIVE = re.compile(r"[A-Za-z]:")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def shown(raw: str) -> str:
    """A name on one line of valid UTF-8: control characters and undecodable bytes are escaped, a very long one is cut."""
    text = _UNPRINTABLE.sub(_escaped, raw)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, as Python carries it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def member_name(raw: str) -> tuple[str, str]:
    """The name of an archive member below its archive, and what is wrong with it (empty for nothing).

    Backslashes count as separators: archives made on Windows have them, and a path can escape by them.
    """
    path = raw.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        return "(no name)", "it has no name"
    if path.startswith("/") or _DRIVE.match(path):
        return shown(path), "an absolute path"
    if ".." in parts:
        return shown(path), "the path leads out of the archive"
    return shown("/".join(parts)), ""
