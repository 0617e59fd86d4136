"""What the system is worth on a test cohort: metrics with intervals by patient, ablation, curves, figures."""
