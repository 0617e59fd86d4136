"""What the commands of ``ich`` do; :mod:`ich_pipeline.cli` only parses and prints."""
