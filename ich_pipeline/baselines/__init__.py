"""Baselines: readers without a trained network, measured on the same slices as the system. A system that does not beat them has learnt nothing."""
