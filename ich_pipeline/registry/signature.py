"""The signature of a version: Ed25519 over its name and the digests of its content and files.

A digest in MLflow's record says that files are as they were registered; a signature says who registered them, since whoever
can write the record can write a digest, but no signature. Keys are files in PEM, named by the environment:
:data:`SIGNING_KEY` is private, and registration signs with it; :data:`VERIFY_KEY` is public, and no version is loaded
without its signature. Where only the first is set, its public half is asked for.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich_pipeline.core.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from ich_pipeline.registry.remembered import Version

SIGNING_KEY, VERIFY_KEY = "ICH_SIGNING_KEY", "ICH_VERIFY_KEY"
SCHEMA = "ich-version/1"
REMEDY = f"`{SIGNING_KEY}=FILE python -m flows.register` registers and signs the content of work/ anew"


def sign(name: str, content: str, files: str) -> str:
    """The signature of a version in base64; empty where :data:`SIGNING_KEY` names no key.

    Args:
        name: of the model.
        content, files: digests, as of :class:`~ich_pipeline.registry.remembered.Version`.

    Raises:
        InputError: it names no Ed25519 private key.
    """
    if not os.environ.get(SIGNING_KEY):
        return ""
    return base64.b64encode(_private_key().sign(_message(name, content, files))).decode()


def check(version: Version) -> str:
    """Whose signature a version carries: the beginning of the key's SHA-256; empty where no key is configured.

    Raises:
        InputError: a key is configured and did not sign this version, or what is named is no key.
    """
    if not (os.environ.get(VERIFY_KEY) or os.environ.get(SIGNING_KEY)):
        return ""
    from cryptography.exceptions import InvalidSignature

    variable = VERIFY_KEY if os.environ.get(VERIFY_KEY) else SIGNING_KEY
    key = _public_key() if variable == VERIFY_KEY else _private_key().public_key()
    called = f"{version.name} version {version.number}"
    whose = f"key {_fingerprint(key)} ({variable}={os.environ[variable]})"
    if not version.signature:
        raise InputError(f"{called} is not signed, and {whose} is asked for: {REMEDY}.")
    try:
        signature = base64.b64decode(version.signature, validate=True)
        key.verify(signature, _message(version.name, version.content, version.files))
    except (ValueError, InvalidSignature):
        raise InputError(f"{called} carries a signature that {whose} did not make for it: {REMEDY}.") from None
    return _fingerprint(key)


def _message(name: str, content: str, files: str) -> bytes:
    return "\n".join((SCHEMA, name, content, files, "")).encode()


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _private_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    made = "`openssl genpkey -algorithm ed25519 -out FILE` makes one"
    return _load(SIGNING_KEY, Ed25519PrivateKey, lambda pem: load_pem_private_key(pem, None), "private", made)


def _public_key() -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    made = "`openssl pkey -in PRIVATE -pubout -out FILE` makes it of the private one"
    return _load(VERIFY_KEY, Ed25519PublicKey, load_pem_public_key, "public", made)


def _load(variable: str, kind: type, load: Callable[[bytes], Any], side: str, made: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    place = os.environ[variable]
    try:
        key = load(Path(place).read_bytes())
    except OSError as error:
        raise InputError(f"{variable}={place} cannot be read ({error.strerror}): name a key file; {made}.") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # no PEM, a passphrase, a kind of key that it does not know
        key = None
    if not isinstance(key, kind):
        raise InputError(f"{variable}={place} is no Ed25519 {side} key in PEM without a passphrase: {made}.")
    return key
