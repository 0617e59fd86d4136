"""A network with its sequence head is a member of the ensemble of its own, beside the network alone."""

from __future__ import annotations

SUFFIX = "+sequence"  # no architecture's name can hold a plus


def member_of(architecture: str) -> str:
    """``inception_v3`` → ``inception_v3+sequence``."""
    return architecture + SUFFIX


def has_head(member: str) -> bool:
    """Whether a member of the ensemble is a network with its sequence head."""
    return member.endswith(SUFFIX)


def architecture_of(member: str) -> str:
    """The network of a member: ``inception_v3`` of ``inception_v3`` and of ``inception_v3+sequence``."""
    return member.removesuffix(SUFFIX)
