"""Procrastinate: every job is a row of PostgreSQL and stays there."""

from benchmarks.systems.peer import python_peer

PROCRASTINATE = python_peer(
    "Procrastinate, PostgreSQL, async",
    "procrastinate",
    ("procrastinate>=3.10,<3.11", "psycopg[binary,pool]>=3.3,<4"),
    app="procrastinate_app",
    starts=(
        *("-m", "procrastinate", "--app", "benchmarks.peers.procrastinate_app.app"),
        *("--log-level", "warning", "worker", "--concurrency", "50"),
    ),
    loads="procrastinate.cli, procrastinate.worker",
    needs_postgres=True,
)
