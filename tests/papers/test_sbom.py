"""The bill of materials: every package of the lock, valid, of equal bytes; another file is refused in a sentence."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from flows import register
from ich_pipeline.cli.main import app
from ich_pipeline.core.errors import InputError
from ich_pipeline.papers.sbom import read_lock, sbom

HASH = {
    "type": "object",
    "required": ["alg", "content"],
    "additionalProperties": False,
    "properties": {"alg": {"const": "SHA-256"}, "content": {"pattern": "^[a-f0-9]{64}$"}},
}
LICENCES = {  # names, or one expression: never both
    "oneOf": [
        {
            "items": {
                "required": ["license"],
                "properties": {"license": {"required": ["name"]}},
                "additionalProperties": False,
            }
        },
        {
            "maxItems": 1,
            "items": {"required": ["expression"], "additionalProperties": False, "properties": {"expression": {}}},
        },
    ]
}
PROPERTIES = {
    "items": {"required": ["name", "value"], "additionalProperties": False, "properties": {"name": {}, "value": {}}}
}
COMPONENT = {  # required by CycloneDX 1.6: type and name; the rest as this project writes it
    "type": "object",
    "required": ["type", "name", "version", "bom-ref", "purl", "externalReferences"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "library"},
        "name": {"type": "string", "minLength": 1},
        "version": {"type": "string", "minLength": 1},
        "bom-ref": {"type": "string", "minLength": 1},
        "purl": {"pattern": r"^pkg:pypi/[a-z0-9]+(-[a-z0-9]+)*@[^@+]+$"},
        "licenses": LICENCES,
        "properties": PROPERTIES,
        "externalReferences": {
            "minItems": 1,
            "items": {
                "required": ["url", "type", "hashes"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "distribution"},
                    "url": {"pattern": "^https://"},
                    "hashes": {"minItems": 1, "items": HASH},
                },
            },
        },
    },
}
BOM = {
    "type": "object",
    "required": ["bomFormat", "specVersion"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"const": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "version": {"type": "integer", "minimum": 1},
        "metadata": {
            "type": "object",
            "properties": {"component": {"required": ["type", "name"]}, "properties": PROPERTIES},
        },
        "components": {"type": "array", "uniqueItems": True, "items": COMPONENT},
    },
}
GOOD = f"""# a comment
Odd_Name.x==1.0+cpu ; sys_platform == 'linux' \\
    --hash=sha256:{"b" * 64} \\
    --hash=sha256:{"a" * 64}
numpy=={importlib.metadata.version("numpy")} \\
    --hash=sha256:{"c" * 64}
    # via something
"""


def test_the_bill_of_the_project_is_whole_and_valid(project_root: Path) -> None:
    lock = project_root / "requirements.lock"
    found = sbom(lock)
    Draft202012Validator(BOM).validate(found)
    text = lock.read_text()
    assert len(found["components"]) == len(re.findall(r"^[A-Za-z0-9].*==", text, flags=re.MULTILINE)) > 100
    hashes = [h["content"] for one in found["components"] for h in one["externalReferences"][0]["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", text))
    references = [one["bom-ref"] for one in found["components"]]
    assert len(set(references)) == len(references)
    assert found["metadata"]["properties"][0]["value"] == hashlib.sha256(lock.read_bytes()).hexdigest()
    installed = [one for one in found["components"] if "licenses" in one]
    assert len(installed) > 0.9 * len(found["components"])


def test_a_lock_without_hashes_does_not_stop_a_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert register._bill(tmp_path) == [] and not caplog.records
    (tmp_path / "requirements.lock").write_text("numpy==2.0\n")
    with caplog.at_level(logging.WARNING):
        assert register._bill(tmp_path) == []
    assert "without a bill of materials: requirements.lock: numpy==2.0 has no --hash" in caplog.text
    (tmp_path / "requirements.lock").write_text(GOOD)
    (bill,) = register._bill(tmp_path)
    assert len(json.loads(bill.read_text())["components"]) == 2


def test_what_is_said_of_a_package(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(GOOD)
    numpy, odd = sbom(lock)["components"]
    assert (odd["name"], odd["version"], odd["purl"]) == ("Odd_Name.x", "1.0+cpu", "pkg:pypi/odd-name-x@1.0%2Bcpu")
    assert [one["content"][0] for one in odd["externalReferences"][0]["hashes"]] == ["a", "b"]
    assert odd["properties"] == [{"name": "ich:marker", "value": "sys_platform == 'linux'"}]
    assert "licenses" not in odd and "BSD" in str(numpy["licenses"]) and "properties" not in numpy
    lock.write_text(GOOD.replace(importlib.metadata.version("numpy"), "0.1"))
    assert "licenses" not in sbom(lock)["components"][0], "of another version nothing is known here"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("numpy>=2\n", "line 1: 'numpy>=2' is neither"),
        (f"    --hash=sha256:{'a' * 64}\n", "line 1"),
        (f"numpy==2.0 \\\n    --hash=sha256:{'a' * 63}\n", "line 2"),
        ("numpy==2.0\n", "numpy==2.0 has no --hash"),
        ("-e .\n", "line 1: '-e .'"),
    ],
)
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str, said: str) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(text)
    with pytest.raises(InputError, match=rf"some\.lock.*{re.escape(said)}.*make lock"):
        read_lock(lock)
    with pytest.raises(InputError, match="gone cannot be read"):
        read_lock(tmp_path / "gone")


def test_the_command_writes_equal_bytes(tmp_path: Path) -> None:
    (tmp_path / "some.lock").write_text(GOOD)
    for name in ("one.json", "two.json"):
        said = CliRunner().invoke(app, ["sbom", str(tmp_path / "some.lock"), "--out", str(tmp_path / name)])
        assert said.exit_code == 0 and "2 packages" in said.stdout, said.output
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    found = json.loads((tmp_path / "one.json").read_text())
    assert not {"serialNumber", "timestamp"} & {*found, *found["metadata"]}
    said = CliRunner().invoke(app, ["sbom", str(tmp_path / "gone"), "--out", str(tmp_path / "three.json")])
    assert said.exit_code == 2 and said.stderr.startswith("ich: ") and not (tmp_path / "three.json").exists()
