"""Huey on Redis: its consumer with 50 threads."""

from benchmarks.systems.peer import python_peer

HUEY = python_peer(
    "Huey, threads",
    "huey",
    ("huey>=3.5,<3.6", "redis>=8.1,<9", "hiredis>=3"),
    app="huey_app",
    starts=(
        *("-m", "huey.bin.huey_consumer", "benchmarks.peers.huey_app.huey"),
        *("--worker-type", "thread", "--workers", "50", "--quiet"),
    ),
    loads="huey.consumer",
)
