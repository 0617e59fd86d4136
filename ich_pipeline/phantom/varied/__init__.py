"""Heads more varied than the phantom's, drawn in memory to pretrain networks on; no file is written and no cohort changes.

Real head CT lies inside the range on purpose (domain randomisation), rather than being imitated: infants to old age, other
fields of view, kernels and doses, devices, fractures, calcifications, and bleeds that are small, thin or nearly isodense.
Kin: the FDA's InSilicoICH (DIDSR) inserts intraparenchymal, epidural and subdural bleeds into XCAT heads and scans them with
XCIST (gecatsim), to evaluate devices. Here the anatomy is this project's own phantom and the scanner is only its effects,
so that a slice takes a hundredth of a second.
"""
