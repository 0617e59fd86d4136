"""The signature of a version: Ed25519 over its name and the digests of its content and files.

A digest in MLflow's record says that files are as they were registered; a signature says who registered them, since whoever
can write the record can write a digest, but no signature. Keys are files in PEM, named by the environment:
:data:`SIGNING_KEY` is private, and registration signs with it; :data:`VERIFY_KEY` is public, and no version is loaded
without its signature. Where only the first is set, its public half is asked for. A variable that is set but empty is refused.
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


def ready() -> None:
    """See to it, before anything is made, that what is registered now will be found signed by the key that is asked for.

    Else no version would ever count as there, and every run would register the same content again.

    Raises:
        InputError: a variable names no key, or :data:`VERIFY_KEY` is not the public half of :data:`SIGNING_KEY`.
    """
    own = _private_key().public_key() if _named(SIGNING_KEY) else None
    if not _named(VERIFY_KEY):
        return
    asked = _public_key()
    if own is None or own.public_bytes_raw() != asked.public_bytes_raw():
        signs = " is not set" if own is None else f"={os.environ[SIGNING_KEY]} is another's ({_fingerprint(own)})"
        raise InputError(
            f"{VERIFY_KEY}={os.environ[VERIFY_KEY]} asks for signatures of key {_fingerprint(asked)}, but "
            f"{SIGNING_KEY}{signs}: to register, set it to the private half of that key, or unset {VERIFY_KEY}."
        )


def sign(name: str, content: str, files: str) -> str:
    """The signature of a version in base64; empty where :data:`SIGNING_KEY` names no key.

    Args:
        name: of the model.
        content, files: digests, as of :class:`~ich_pipeline.registry.remembered.Version`.

    Raises:
        InputError: it names no Ed25519 private key.
    """
    if not _named(SIGNING_KEY):
        return ""
    return base64.b64encode(_private_key().sign(_message(name, content, files))).decode()


def check(version: Version) -> str:
    """Whose signature a version carries: the beginning of the key's SHA-256; empty where no key is configured.

    Raises:
        InputError: a key is configured and did not sign this version, or what is named is no key.
    """
    variable = next((one for one in (VERIFY_KEY, SIGNING_KEY) if _named(one)), None)
    if variable is None:
        return ""
    from cryptography.exceptions import InvalidSignature

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


def _named(variable: str) -> bool:
    """Whether a key is configured. An empty name is a slip, such as of an unset shell variable, that must not end the check."""
    if os.environ.get(variable) == "":
        raise InputError(f"{variable} is set but empty: name a key file, or unset it.")
    return variable in os.environ


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
