"""manage.py chaos_judge: wait until the run has settled, judge it, write the report."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tests.chaos import report, verdict
from tests.chaos.evidence import gather
from tests.chaos.settling import settled


class Command(BaseCommand):
    """Exits with 1 when a promise was broken."""

    help = "The verdict of a chaos run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--book", type=Path, required=True)
        parser.add_argument("--journal", type=Path, required=True)
        parser.add_argument("--told", type=Path, required=True, help="JSON of what was injected")
        parser.add_argument("--into", type=Path, required=True, metavar="FOLDER")
        parser.add_argument("--patience", type=float, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        took = settled(options["patience"])
        told = json.loads(options["told"].read_text())
        evidence = gather(options["book"], options["journal"], told)
        found = verdict.violations(evidence)
        data = report.as_json(evidence, found, told["about"] | {"settled": took})
        text = report.markdown(data)
        options["into"].mkdir(parents=True, exist_ok=True)
        (options["into"] / "report.json").write_text(json.dumps(data, indent=1))
        (options["into"] / "report.md").write_text(text)
        self.stdout.write(text)
        if found:
            raise SystemExit(1)
