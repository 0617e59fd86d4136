"""What the commands of ``ich`` do; :mod:`ich_pipeline.cli.main` only parses and prints."""
