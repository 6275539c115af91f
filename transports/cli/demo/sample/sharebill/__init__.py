"""Splits a bill among people, in whole cents."""

from .receipt import receipt
from .split import split

__all__ = ["receipt", "split"]
