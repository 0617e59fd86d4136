"""Small-data head-CT haemorrhage detection after Lee et al. 2019 (doi 10.1038/s41551-018-0324-9).

The science lives here as plain functions and frozen dataclasses; it imports neither Prefect nor DVC, and MLflow only
in :mod:`ich_pipeline.registry`.
"""
