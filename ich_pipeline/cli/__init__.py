"""The command line, declared. What a command does stands in :mod:`ich_pipeline.commands` and in the rooms."""
