"""Dramatiq on Redis: one process of 50 threads (and the parent that its command always keeps)."""

from benchmarks.systems.peer import python_peer

DRAMATIQ = python_peer(
    "Dramatiq, threads",
    "dramatiq",
    ("dramatiq[redis]>=2.2,<2.3", "hiredis>=3"),
    app="dramatiq_app",
    starts=(
        *("-m", "dramatiq", "benchmarks.peers.dramatiq_app"),
        *("--processes", "1", "--threads", "50"),
    ),
    loads="dramatiq.cli",
)
