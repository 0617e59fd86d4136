"""The record and the registry: runs, the model bundle, its versions and aliases. Nothing else imports MLflow."""
