"""Who registered a version: its own key's signature and nobody else's, or it is not loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.registry import store, versions
from ich_pipeline.registry.register import claim, register
from ich_pipeline.registry.signature import SIGNING_KEY, VERIFY_KEY, sign
from ich_pipeline.serving.code import BUNDLE
from ich_pipeline.serving.content import content_of
from tests.made.system import own_store_in
from tests.serving.test_content import flip

PEM, PLAIN, PUBLIC = Encoding.PEM, PrivateFormat.PKCS8, PublicFormat.SubjectPublicKeyInfo


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``own``, ``own.pub``, ``other.pub``, and files that are no key of this kind."""
    folder = tmp_path_factory.mktemp("keys")
    own, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (folder / "own").write_bytes(own.private_bytes(PEM, PLAIN, NoEncryption()))
    (folder / "locked").write_bytes(own.private_bytes(PEM, PLAIN, BestAvailableEncryption(b"secret")))
    (folder / "ec").write_bytes(generate_private_key(SECP256R1()).private_bytes(PEM, PLAIN, NoEncryption()))
    (folder / "own.pub").write_bytes(own.public_key().public_bytes(PEM, PUBLIC))
    (folder / "other.pub").write_bytes(other.public_key().public_bytes(PEM, PUBLIC))
    (folder / "text").write_text("no key")
    return folder


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, project_root: Path, keys: Path, params: Params, bundle: Path
) -> Iterator[Path]:
    """The current directory: version 1 without a signature, version 2 of the same content with one."""
    folder = tmp_path_factory.mktemp("signed")
    with own_store_in(folder), pytest.MonkeyPatch.context() as environment:
        (folder / "params.yaml").write_text((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
        assert register(bundle, content_of(bundle), params, {}, "") == (1, True)
        environment.setenv(SIGNING_KEY, str(keys / "own"))
        assert register(bundle, content_of(bundle), params, {}, "") == (2, True), "the first one nobody vouches for"
        assert register(bundle, content_of(bundle), params, {}, "") == (2, False)
        yield folder


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (SIGNING_KEY, VERIFY_KEY):
        monkeypatch.delenv(variable, raising=False)


def both(params: Params) -> tuple[versions.Version, versions.Version]:
    name = params.registry.model_name
    return versions.resolve("1", name), versions.resolve("2", name)


def test_without_a_key_nothing_is_asked_for(project: Path, params: Params) -> None:
    for version in both(params):
        assert versions.verified_folder(version).is_dir()
    assert [bool(version.signature) for version in both(params)] == [False, True]


def test_with_a_key_only_what_it_signed_is_loaded(
    project: Path, params: Params, keys: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unsigned, signed = both(params)
    monkeypatch.setenv(VERIFY_KEY, str(keys / "own.pub"))
    assert versions.verified_folder(signed).is_dir()
    with pytest.raises(InputError, match=r"version 1 is not signed, and key \w{16} .*own\.pub.*flows\.register"):
        versions.verified_folder(unsigned)
    with pytest.raises(InputError, match="version 1 is not signed"):
        versions.move(*versions.candidate(unsigned.name, 1))
    assert claim(signed.name, signed.content) == 2
    monkeypatch.setenv(VERIFY_KEY, str(keys / "other.pub"))
    with pytest.raises(InputError, match=r"version 2 carries a signature that key \w{16} .*other\.pub.* did not make"):
        versions.verified_folder(signed)
    with caplog.at_level(logging.WARNING):
        assert claim(signed.name, signed.content) is None
    assert "did not make" in caplog.text


def test_a_signature_is_of_one_name_one_content_and_its_files(
    project: Path, params: Params, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, signed = both(params)
    monkeypatch.setenv(VERIFY_KEY, str(keys / "own.pub"))
    other = "0" * 64
    for changed in (
        replace(signed, content=other),
        replace(signed, files=other),
        replace(signed, name="another"),
        replace(signed, signature=signed.signature[:-4]),
        replace(signed, signature="?"),
    ):
        with pytest.raises(InputError, match="did not make for it"):
            versions.verified_folder(changed)


def test_who_changes_a_file_and_the_record_is_found_out(
    project: Path, params: Params, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte of MLflow's own file, and its digest written anew: what the record alone cannot see."""
    _, signed = both(params)
    folder = versions.verified_folder(signed)
    before = flip(folder / "MLmodel")
    with pytest.raises(InputError, match="a file beside the bundle was changed"):
        versions.verified_folder(signed)
    client = store.client()
    forged = content_of(folder, ("registered_model_meta",)).digest
    client.set_model_version_tag(signed.name, "2", versions.FILES, forged)
    try:
        assert versions.verified_folder(versions.resolve("2", signed.name)) == folder, "unseen without a key"
        monkeypatch.setenv(VERIFY_KEY, str(keys / "own.pub"))
        with pytest.raises(InputError, match="did not make for it"):
            versions.verified_folder(versions.resolve("2", signed.name))
    finally:
        (folder / "MLmodel").write_bytes(before)
        client.set_model_version_tag(signed.name, "2", versions.FILES, signed.files)


@pytest.mark.parametrize(
    ("variable", "file", "said"),
    [
        (SIGNING_KEY, "locked", "is no Ed25519 private key in PEM without a passphrase"),
        (SIGNING_KEY, "ec", "is no Ed25519 private key"),
        (SIGNING_KEY, "own.pub", "is no Ed25519 private key"),
        (SIGNING_KEY, "text", "is no Ed25519 private key"),
        (SIGNING_KEY, "gone", "cannot be read"),
        (VERIFY_KEY, "own", "is no Ed25519 public key"),
        (VERIFY_KEY, ".", "cannot be read"),
    ],
)
def test_what_is_no_key_is_said_in_a_sentence(
    project: Path, params: Params, keys: Path, monkeypatch: pytest.MonkeyPatch, variable: str, file: str, said: str
) -> None:
    monkeypatch.setenv(variable, str(keys / file))
    with pytest.raises(InputError, match=rf"{variable}=.*{said}.*openssl"):
        versions.verified_folder(both(params)[1])
    if variable == SIGNING_KEY:
        with pytest.raises(InputError, match=said):
            sign("name", "content", "files")


@pytest.mark.parametrize(
    ("signing", "verify", "said"),
    [
        (None, "own.pub", f"asks for signatures of key .*{SIGNING_KEY} is not set"),
        ("own", "other.pub", f"asks for signatures of key .*{SIGNING_KEY}=.*own is another's"),
        ("own", "gone", f"{VERIFY_KEY}=.*gone cannot be read"),
        ("locked", None, f"{SIGNING_KEY}=.*locked is no Ed25519 private key"),
        ("own", "", f"{VERIFY_KEY} is set but empty"),
        ("", None, f"{SIGNING_KEY} is set but empty"),
    ],
)
def test_nothing_is_registered_that_would_not_count_as_signed(
    project: Path,
    params: Params,
    bundle: Path,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    signing: str | None,
    verify: str | None,
    said: str,
) -> None:
    """Each try used to leave a version, whole or half-made, and the next one another."""
    name = params.registry.model_name
    before = len(versions.versions(name)), what_is_logged()
    assert before[1] >= 4, "a run and a model of each version"
    for variable, file in ((SIGNING_KEY, signing), (VERIFY_KEY, verify)):
        if file is not None:
            monkeypatch.setenv(variable, str(keys / file) if file else "")
    for _ in range(2):
        with pytest.raises(InputError, match=said):
            register(bundle, content_of(bundle), params, {}, "")
    assert (len(versions.versions(name)), what_is_logged()) == before


def what_is_logged() -> int:
    """Runs and models in the store."""
    client = store.client()
    places = [experiment.experiment_id for experiment in client.search_experiments()]
    return len(client.search_runs(places)) + len(client.search_logged_models(places))


def test_with_a_pair_of_keys_a_signed_version_is_found_again(
    project: Path, params: Params, bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIGNING_KEY, str(keys / "own"))
    monkeypatch.setenv(VERIFY_KEY, str(keys / "own.pub"))
    assert register(bundle, content_of(bundle), params, {}, "") == (2, False)


def test_an_empty_name_of_a_key_does_not_end_the_check(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VERIFY_KEY, "")
    with pytest.raises(InputError, match=f"{VERIFY_KEY} is set but empty: name a key file"):
        versions.verified_folder(both(params)[0])


def test_the_command_says_it(project: Path, params: Params, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = CliRunner().invoke(app, ["models", "verify"])
    assert said.exit_code == 0 and "no signature was asked for" in said.stdout
    monkeypatch.setenv(VERIFY_KEY, str(keys / "own.pub"))
    said = CliRunner().invoke(app, ["models", "verify", "2"])
    assert said.exit_code == 0 and "every file is as it was registered; signed by key" in said.stdout
    said = CliRunner().invoke(app, ["models", "verify", "1"])
    assert said.exit_code == 2 and said.stderr.startswith("ich: ") and said.stderr.count("\n") == 1
    weights = versions.verified_folder(both(params)[1]) / BUNDLE / "networks/vgg16/network.onnx"
    before = flip(weights)
    said = CliRunner().invoke(app, ["models", "verify", "2"])
    weights.write_bytes(before)
    assert said.exit_code == 2 and "network.onnx was changed since the model was registered" in said.stderr
    assert os.environ[VERIFY_KEY]
