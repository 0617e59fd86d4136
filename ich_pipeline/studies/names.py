"""Which columns name a finding, a case, a slice, a patient."""

from __future__ import annotations

ANY = "any"
MEAN = "mean"  # beside the findings in metrics.json
# Names of the same finding, without upper case; the first is ours.
SYNONYMS = {
    ANY: ("any", "ich", "hemorrhage", "haemorrhage", "bleed", "any_hemorrhage", "any_haemorrhage"),
    "epidural": ("epidural", "edh", "extradural"),
    "intraparenchymal": ("intraparenchymal", "iph"),
    "intraventricular": ("intraventricular", "ivh"),
    "subarachnoid": ("subarachnoid", "sah"),
    "subdural": ("subdural", "sdh"),
}
_KEYS = {name: key for key, names in SYNONYMS.items() for name in names}
SLICE_IDS = ("sopinstanceuid", "image", "image_id", "imageid", "slice")
IDS = (*SLICE_IDS, "studyinstanceuid", "case_id", "case", "study", "name", "id", "accession")
CASES = ("case_id", "studyinstanceuid", "case", "study")
PATIENTS = ("patient_key", "patientid", "patient_id", "patient")


def key_of(name: str) -> str:
    """Our name of a finding, or the given name without upper case, blanks and the prefixes of our own tables."""
    plain = name.casefold().removeprefix("final_").removeprefix("truth_").replace(" ", "_").replace("-", "_")
    return _KEYS.get(plain, plain)
