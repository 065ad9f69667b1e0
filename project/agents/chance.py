"""Chance that is always the same: decisions drawn from a hash of what they depend on."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def seeded(*parts: str) -> random.Random:
    """A generator that gives the same numbers for the same words, in every process."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return random.Random(int.from_bytes(digest[:8]))


def pick(options: Sequence[T], *parts: str) -> T:
    """One of the options, always the same for the same words."""
    return options[seeded(*parts).randrange(len(options))]
