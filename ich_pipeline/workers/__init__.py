"""Processes that do tasks for another one, here or on a cluster; what ends one takes one task with it."""
