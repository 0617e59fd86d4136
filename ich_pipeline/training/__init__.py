"""Backbones, augmentation, loss and fit; probabilities with slice interpolation."""
