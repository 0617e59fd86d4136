"""Predictions of anybody's system beside reference labels: tables that this project did not write."""
