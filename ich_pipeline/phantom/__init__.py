"""A deterministic synthetic head-CT cohort in real DICOM files, equal to the byte on every machine."""

from ich_pipeline.phantom.cohort import create_phantom, plan_cohort, settings_of, settings_sha256

__all__ = ["create_phantom", "plan_cohort", "settings_of", "settings_sha256"]
