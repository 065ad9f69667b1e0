"""`manage.py queue_docs`: write the pages that are made from code, or say they are stale."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

import plugspace_queue
from plugspace_queue.management.pages import pages

DOCS = Path(plugspace_queue.__file__).parents[1] / "docs"


class Command(BaseCommand):
    """Made for the repository itself: an installed package has no docs/ beside it."""

    help = "Write docs/settings.md and docs/redis.md from conf.py and keys.py."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """--check and --into."""
        parser.add_argument("--check", action="store_true", help="write nothing, fail when stale")
        parser.add_argument("--into", type=Path, default=DOCS, metavar="DIRECTORY")

    def handle(self, *args: Any, check: bool, into: Path, **options: Any) -> None:
        """Raise CommandError when a page is stale (--check) or there is no such directory."""
        if not into.is_dir():
            raise CommandError(f"{into} is not a directory: name one with --into.")
        stale = {name: text for name, text in pages().items() if _read(into / name) != text}
        if check and stale:
            raise CommandError(f"Stale: {', '.join(stale)}. Run make docs and commit the result.")
        for name, text in stale.items():
            (into / name).write_text(text, encoding="utf-8")
            self.stdout.write(f"{into / name} written")
        if not stale:
            self.stdout.write("The pages made from code are up to date.")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
