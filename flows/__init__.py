"""One module a stage: ``python -m flows.<stage>`` is the stage's command in dvc.yaml."""
