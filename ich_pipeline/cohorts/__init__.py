"""Adapters that bring a source of head CT into ``data/``."""
