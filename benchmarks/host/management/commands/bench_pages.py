"""Times every list of the API and every page of the admin in a filled database."""

import json
from typing import Any

from django.core.management import BaseCommand, CommandParser

from benchmarks.host.places import places
from benchmarks.host.timing import Timed, timed

LINE = "{:>9} {:>9} {:>6}  {:<6} {}"


class Command(BaseCommand):
    """Prints a table, the slowest first; the last line is JSON."""

    help = "Time the API's lists and the admin's pages."

    def add_arguments(self, parser: CommandParser) -> None:
        """How often each, and which."""
        parser.add_argument("--rounds", type=int, default=20)
        parser.add_argument("--only", default="", help="addresses that contain this")

    def handle(self, *args: Any, rounds: int, only: str, **options: Any) -> None:
        """Time, print."""
        wanted = [place for place in places() if only in place.address]
        found = sorted((timed(place, rounds) for place in wanted), key=_slowness)
        self.stdout.write(LINE.format("p50 ms", "p95 ms", "limit", "asks", "address"))
        for row in found:
            self.stdout.write(_line(row))
        told = [
            {
                "address": row.place.address,
                "asks": row.place.asks,
                "limit": row.place.limit,
                "p50": round(row.p50, 1),
                "p95": round(row.p95, 1),
            }
            for row in found
        ]
        self.stdout.write(json.dumps(told))


def _slowness(row: Timed) -> float:
    return -row.p95 / row.place.limit


def _line(row: Timed) -> str:
    word = "SLOW" if row.is_slow else ""
    cells = (f"{row.p50:.1f}", f"{row.p95:.1f}", row.place.limit, row.place.asks)
    return f"{LINE.format(*cells, row.place.address)} {word}".rstrip()
