"""The secret key and what follows from it: UIDs, patient numbers, file names and day shifts, equal in every run.

Everything is HMAC-SHA256 (RFC 2104) of a kind and a value, so that nobody without the key can guess a value and try it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from ich_pipeline.core.errors import InputError

HEADING = "ich-deidentification-key-1"
_LINE = re.compile(rf"{HEADING} ([0-9a-f]{{64}})\n?")
PATIENT_ID = re.compile(r"ICH[0-9a-f]{16}")


@dataclass(frozen=True)
class Key:
    """A secret of 32 bytes; ``repr`` never shows it."""

    secret: bytes = field(repr=False)

    def digest(self, kind: str, value: str) -> bytes:
        """HMAC-SHA256 of ``kind`` and ``value``: 32 bytes."""
        message = f"{kind}\0{value}".encode("utf-8", "surrogateescape")
        return hmac.new(self.secret, message, hashlib.sha256).digest()

    def token(self, kind: str, value: str) -> str:
        """Sixteen hexadecimal digits."""
        return self.digest(kind, value)[:8].hex()

    def uid(self, value: str) -> str:
        """The UID that stands for ``value``: ``2.25.`` and a UUID of version 8 as a decimal number (PS3.5 B.2)."""
        number = int.from_bytes(self.digest("uid", value.strip(" \0"))[:16], "big")
        number = (number & ~(0xF << 76)) | (8 << 76)  # version 8: of the user's own making (RFC 9562)
        number = (number & ~(0b11 << 62)) | (0b10 << 62)  # the variant of RFC 9562
        return f"2.25.{uuid.UUID(int=number).int}"

    def patient_id(self, value: str) -> str:
        """The PatientID that stands for ``value``; empty stays empty, since nobody can tell such patients apart."""
        value = value.strip(" \0")
        return f"ICH{self.token('patient', value)}" if value else ""

    def day_shift(self, patient: str, longest: int) -> int:
        """By how many days this patient's dates go back: 1 to ``longest``."""
        return 1 + int.from_bytes(self.digest("days", patient.strip(" \0"))[:8], "big") % longest

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell keys apart and say nothing of the secret."""
        return self.token("fingerprint", "")


def new_key(path: Path) -> None:
    """Write a new random key that only its owner can read.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{path} exists: a key is never overwritten; name another file.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): name another file.") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{HEADING} {secrets.token_hex(32)}\n")


def load_key(path: Path) -> Key:
    """Read a key file.

    Raises:
        InputError: it is missing, is no key, or others than its owner may read or change it.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is not a file: `ich deidentify --new-key FILE` makes a key.")
        if os.name == "posix" and mode & 0o077:
            raise InputError(
                f"{path} can be read or changed by others (mode {stat.S_IMODE(mode):04o}): `chmod 600 {path}` first."
            )
        text = path.read_bytes()[:200].decode("ascii", "replace")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: `ich deidentify --new-key {path}` makes a key.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name your key file.") from None
    found = _LINE.fullmatch(text)
    if found is None:
        raise InputError(f"{path} is no key file: `ich deidentify --new-key FILE` makes one.")
    return Key(bytes.fromhex(found.group(1)))
