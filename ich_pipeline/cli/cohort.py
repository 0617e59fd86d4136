"""``ich cohort …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ich_pipeline.cli.shared import Cache, Endpoint, Ocr, Source, sentences
from ich_pipeline.core.errors import InputError
from ich_pipeline.sources.remote import Remote

cohort_app = typer.Typer(help="Bring a cohort into data/.", no_args_is_help=True)

Replace = Annotated[bool, typer.Option("--replace", help="Delete the cohort of your own that data/ holds.")]
Lenient = Annotated[
    bool,
    typer.Option("--lenient", help="Leave out what is at fault, named in data/labels_report.csv, instead of refusing."),
]


@cohort_app.command("phantom")
@sentences
def cohort_phantom(replace: Replace = False) -> None:
    """Make the deterministic synthetic cohort of params.yaml."""
    from ich_pipeline.commands.cohort import make_phantom
    from ich_pipeline.config import load_params

    typer.echo(make_phantom(load_params(), replace))


@cohort_app.command("folder")
@sentences
def cohort_folder(
    source: Source,
    labels: Annotated[
        Path, typer.Option("--labels", help="SOPInstanceUID or StudyInstanceUID, and one 0/1 column a finding.")
    ],
    replace: Replace = False,
    lenient: Lenient = False,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
    deidentify: Annotated[
        Path | None, typer.Option("--deidentify", help="Key file: only de-identified copies enter data/.")
    ] = None,
    ocr: Ocr = False,
    boxes: Annotated[
        Path | None, typer.Option("--boxes", help="Boxes round lesions, as BHX: SOPInstanceUID, data, labelName.")
    ] = None,
) -> None:
    """Copy DICOM files (a folder, an archive, a bucket) and their label table into data/."""
    remote = Remote(endpoint_url, cache)
    if ocr and deidentify is None:
        raise InputError("--ocr looks at what --deidentify writes: name its key file too, or leave --ocr out.")
    if deidentify is None:
        _bring("folder", source, labels, replace, lenient, remote, boxes)
        return
    if boxes is not None:
        raise InputError(
            "--boxes names images by SOPInstanceUIDs that --deidentify replaces: leave --boxes out, or bring the export without --deidentify."
        )
    from ich_pipeline.commands.cohort import bring_deidentified
    from ich_pipeline.config import load_params

    typer.echo(bring_deidentified(source, labels, deidentify, load_params(), replace, lenient, remote, ocr))


@cohort_app.command("add")
@sentences
def cohort_add(
    source: Source,
    labels: Annotated[Path, typer.Option("--labels", help="SOPInstanceUID and one 0/1 column a finding.")],
    lenient: Lenient = False,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
) -> None:
    """Add new patients and studies to the cohort in data/: only what is new is copied, labels are merged."""
    from ich_pipeline.commands.cohort import add
    from ich_pipeline.config import load_params

    typer.echo(add(source, labels, load_params(), lenient, Remote(endpoint_url, cache)))


@cohort_app.command("rsna2019")
@sentences
def cohort_rsna2019(
    source: Source,
    labels: Annotated[Path, typer.Option("--labels", help="stage_2_train.csv: ID,Label; six rows a slice.")],
    replace: Replace = False,
    lenient: Lenient = False,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
) -> None:
    """The RSNA 2019 challenge: its images and its long label table."""
    _bring("rsna2019", source, labels, replace, lenient, Remote(endpoint_url, cache))


@cohort_app.command("cq500")
@sentences
def cohort_cq500(
    source: Source,
    labels: Annotated[Path, typer.Option("--labels", help="reads.csv: three readers, one row a scan.")],
    replace: Replace = False,
    lenient: Lenient = False,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
) -> None:
    """CQ500: labels of cases by majority of three readers, with their agreement; a test, never training."""
    _bring("cq500", source, labels, replace, lenient, Remote(endpoint_url, cache))


@cohort_app.command("physionet-ctich")
@sentences
def cohort_physionet_ctich(
    source: Source,
    labels: Annotated[Path, typer.Option("--labels", help="hemorrhage_diagnosis.csv: one row a slice.")],
    replace: Replace = False,
    lenient: Lenient = False,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="The data set's folder of masks: 049.nii … or 049/brain/14_HGE_Seg.jpg …"),
    ] = None,
) -> None:
    """PhysioNet CT-ICH as DICOM: PatientNumber ends PatientID, SliceNumber is InstanceNumber."""
    _bring("physionet-ctich", source, labels, replace, lenient, Remote(endpoint_url, cache), masks)


def _bring(
    kind: str, source: str, labels: Path, replace: bool, lenient: bool, remote: Remote, marks: Path | None = None
) -> None:
    from ich_pipeline.commands.cohort import bring
    from ich_pipeline.config import load_params

    typer.echo(bring(kind, source, labels, load_params(), replace, lenient, remote, marks))
