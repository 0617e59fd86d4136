"""De-identification on entry: the Basic Application Level Confidentiality Profile of DICOM PS3.15 with options.

:func:`~ich_pipeline.deidentify.folder.deidentify_files` is what a cohort adapter calls,
:func:`~ich_pipeline.deidentify.labels.pseudonymise_labels` maps its label table.
"""
