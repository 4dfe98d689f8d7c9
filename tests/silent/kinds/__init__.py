"""Kinds of state that may be kept anywhere."""

from kinds import counters, generators, resources, values  # noqa: F401
from kinds.register import KINDS

__all__ = ["KINDS"]
