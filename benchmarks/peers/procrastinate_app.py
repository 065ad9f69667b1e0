"""Procrastinate: jobs are rows of PostgreSQL and stay there; coroutines, woken by NOTIFY."""

import os
import time
from collections.abc import Sequence

from procrastinate import App, PsycopgConnector

from benchmarks import job

URL = os.environ["BENCH_DATABASE_URL"]

COMPLETED = "SELECT count(*) AS completed FROM procrastinate_jobs WHERE status = 'succeeded'"

app = App(connector=PsycopgConnector(conninfo=URL))


@app.task(name="perform")
async def perform(prompt: str) -> int:
    """The task."""
    started = time.monotonic_ns()
    return await job.run_async(prompt, started)


def prepare() -> None:
    """Make the tables of an empty database."""
    with app.open():
        app.schema_manager.apply_schema()


class Producer:
    """`defer` and `batch_defer`, each with a commit of its own."""

    def __init__(self) -> None:
        app.open()

    def add(self, kind: str, number: int) -> None:
        """One job."""
        perform.defer(**job.payload(kind, number))

    def add_stamped(self, kind: str, number: int) -> int:
        """One job; the return of the call, which commits as its last act."""
        self.add(kind, number)
        return time.monotonic_ns()

    def add_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Many jobs in one statement."""
        perform.batch_defer(*(job.payload(kind, number) for number in numbers))

    def completed(self) -> int:
        """Rows that succeeded."""
        connector = app.connector.get_sync_connector()
        return int(connector.execute_query_one(COMPLETED)["completed"])
