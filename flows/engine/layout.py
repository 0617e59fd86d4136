"""Where every stage reads and writes, relative to the project's top folder. dvc.yaml names the same paths."""

from __future__ import annotations

from pathlib import Path

DATA = Path("data")
DICOM = DATA / "dicom"
LABELS = DATA / "labels.csv"
MASKS = DATA / "masks.csv"
READERS = DATA / "readers.csv"

WORK = Path("work")
INGEST = WORK / "ingest"
VALIDATE = WORK / "validate"
SPLIT = WORK / "split"
WINDOW = WORK / "window"
PRETRAIN = WORK / "pretrain"
FEATURES = WORK / "features"
TRAIN = WORK / "train"
ABLATE = WORK / "ablate"
SEQUENCE = WORK / "sequence"
BASELINES = WORK / "baselines"
PRECEDENT = WORK / "precedent"
CALIBRATE = WORK / "calibrate"
EVALUATE = WORK / "evaluate"
ATLAS = WORK / "atlas"
REGISTER = WORK / "register"
REPORTS = Path("reports")

FROZEN = Path("frozen.json")
STATE = Path(".state")
MLRUNS = Path("mlruns")
