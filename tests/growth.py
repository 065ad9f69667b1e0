"""How processor time grows with the length of a text that is hostile to what reads it."""

import time
from collections.abc import Callable

Maker = Callable[[int], str]

MOST = 2.5
"""Times the time for twice the text: 2 is linear, 4 quadratic."""
# Below this time the clock and the setting up of a call are measured.
ENOUGH_SECONDS = 0.003
LARGEST = 1 << 19
# A first run may be slow for reasons of its own, and would make the second look quick.
FEWEST, ROUNDS = 3, 25
PATIENCE_SECONDS = 0.7
MEASURES = 5


def many(unit: str, before: str = "", after: str = "") -> Maker:
    """Makes about n characters: the unit again and again, between two texts."""
    return lambda n: before + unit * (n // len(unit)) + after


def is_linear(work: Callable[[str], object], make: Maker) -> bool:
    """Whether time grows with the text: at the first measure, or at most of further ones.

    Other processes can spoil a measure of so short a time. The further ones double the text twice:
    a processor cache that is shared with others then counts half as much, and a quadratic time as
    much as before.
    """
    if growth(work, make) <= MOST:
        return True
    again = [growth(work, make, doublings=2) for _ in range(MEASURES)]
    return sum(one <= MOST for one in again) > MEASURES // 2


def growth(work: Callable[[str], object], make: Maker, doublings: int = 1) -> float:
    """How many times the processor time is multiplied by a doubling of the text, on the average.

    The text grows until its time can be measured, so that what is quadratic shows early. Whoever
    else uses the processor can only add time: the quickest of several runs is the true one.
    """
    size = 500
    while (twice := _spent(work, make(2 * size))) < ENOUGH_SECONDS and size < LARGEST:
        size *= 2
    small, large, most = make(size), make(size << doublings), MOST**doublings
    twice = max(twice, _spent(work, large))
    once, end = _spent(work, small), time.process_time() + PATIENCE_SECONDS
    for done in range(ROUNDS):
        if done >= FEWEST and (twice <= most * once or time.process_time() > end):
            break
        once, twice = min(once, _spent(work, small)), min(twice, _spent(work, large))
    return (twice / once) ** (1 / doublings) if twice >= ENOUGH_SECONDS else 2.0


def _spent(work: Callable[[str], object], text: str) -> float:
    begun = time.process_time()
    work(text)
    return time.process_time() - begun
