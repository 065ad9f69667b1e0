"""`manage.py queue_demo`: everything up, one workflow to its end, and where to look.

On a terminal it then serves until Ctrl-C. Without one, or with ONCE=1, it exits 0 when the workflow
is complete. Whatever it started is gone when it ends.
"""

import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.demo import environment, report, scenario, web
from project.demo.environment import Credentials
from project.demo.interrupts import Interrupts
from project.demo.processes import ChildDied
from project.demo.progress import display_for
from project.demo.system import DemoSystem

POLL = 0.1
INTERRUPTED = 130
ORGANIZATION = environment.HOME


class Command(BaseCommand):
    """Starts the parts, runs the scenario, prints where to look."""

    help = "Run web, workers and one workflow, and show where to look (ONCE=1: then exit)."

    def add_arguments(self, parser: CommandParser) -> None:
        """How many workers, where, and for how long."""
        base = Path(getattr(settings, "BASE_DIR", Path.cwd()))
        port = int(os.environ.get("PORT") or 8000)
        parser.add_argument("--port", type=int, default=port, help="PORT, or 8000")
        parser.add_argument("--workers", type=int, default=2, help="worker processes")
        parser.add_argument("--timeout", type=float, default=90.0, metavar="SECONDS")
        parser.add_argument("--logs", type=Path, default=base / "var" / "log", metavar="DIRECTORY")

    def handle(self, *args: Any, **options: Any) -> None:
        """Raise CommandError without DEBUG, or when the workflow does not complete."""
        environment.refuse_production()
        interrupts = Interrupts()
        with interrupts.installed():
            try:
                self._run(DemoSystem(interrupts, options["logs"]), options)
            except KeyboardInterrupt:
                self._say("\nStopped before the workflow was complete.")
                sys.exit(INTERRUPTED)
            except ChildDied as death:
                raise CommandError(f"A process of the demo died: {death}") from death

    def _run(self, system: DemoSystem, options: dict[str, Any]) -> None:
        with system.running():
            credentials = self._prepare()
            self._start(system, options["port"], options["workers"])
            ids = self._run_scenario(system, options["timeout"])
            self._conclude(system, credentials, ids)
            if self.stdout.isatty() and os.environ.get("ONCE", "") in ("", "0"):
                self._serve(system)
            else:
                self._say("\nStopping; on a terminal `make demo` goes on serving.")

    def _prepare(self) -> Credentials:
        self._say("Preparing the database, an admin and four organizations.")
        environment.migrate()
        environment.create_organizations()
        return Credentials(
            login=environment.create_admin(), api_key=environment.issue_key(ORGANIZATION)
        )

    def _start(self, system: DemoSystem, port: int, workers: int) -> None:
        system.start(port, workers)
        if system.port != port:
            self._say(f"Port {port} is taken; this run uses {system.port}.")
        self._say(f"Started the web process on port {system.port} and {workers} workers.")

    def _run_scenario(self, system: DemoSystem, timeout: float) -> list[uuid.UUID]:
        self._say(f'{ORGANIZATION} submits the workflow "{scenario.INPUT["prompt"]}".\n')
        ids = scenario.submit(ORGANIZATION)
        steps = self._watch(system, ids, time.monotonic() + timeout)
        if not all(step.is_complete for step in steps):
            states = ", ".join(f"{step.type} {step.state} {step.error}".strip() for step in steps)
            tails = system.children.tails()
            raise CommandError(f"The workflow is not complete: {states}.\n{tails}")
        return ids

    def _watch(
        self, system: DemoSystem, ids: Sequence[uuid.UUID], deadline: float
    ) -> list[scenario.Step]:
        display = display_for(self.stdout)
        while True:
            steps = scenario.look(ids)
            display.show(steps)
            if all(step.is_final for step in steps) or time.monotonic() > deadline:
                return steps
            system.children.check()
            time.sleep(POLL)

    def _conclude(
        self, system: DemoSystem, credentials: Credentials, ids: Sequence[uuid.UUID]
    ) -> None:
        found = report.results(ids)
        status = web.status_of(system.port, report.site_path(found))
        if status != 200:
            raise CommandError(
                f"The finished site answers {status}, not 200.\n{system.children.tails()}"
            )
        self._say("\nThe workflow is complete. Where to look:\n")
        for line in report.where_to_look(system.port, credentials, found, system.logs):
            self._say(line)

    def _serve(self, system: DemoSystem) -> None:
        try:
            self._say("\nServing until Ctrl-C.")
            while True:
                system.children.check()
                time.sleep(POLL)
        except KeyboardInterrupt:
            self._say("\nStopping.")

    def _say(self, text: str) -> None:
        self.stdout.write(f"{text}\n", ending="")
        self.stdout.flush()
