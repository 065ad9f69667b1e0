"""The worker's clocks of a chaos run, in seconds, and what follows from them."""

LEASE = 4.0
GRACE = 2.0
HARD_STOP = 2.0

STOPS_WITHIN = 45.0
"""A worker that was told to stop has ended by then: a generous bound for a busy machine."""

BEAT = 0.1
"""Between two lines in the journal of an attempt that works."""

LONGEST_OVERLAP = 2 * LEASE + HARD_STOP
"""How long after its cause an overlap may still be seen."""

NO_CPU = LEASE / 2
"""An attempt silent for so long did not get the processor: its lease may have run out."""

STARTS_WITHIN = 20.0
"""A worker that lived shorter may have been starting still."""

SETTLES_IN = 5.0
"""Faults look for a worker that lives so long: it has something to lose."""

TAKEN_BACK_WITHIN = 2 * LEASE + 2.0
"""Two leases after a worker was killed its tasks are somebody else's; a tick and a commit more."""
