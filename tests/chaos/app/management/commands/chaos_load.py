"""manage.py chaos_load: make the organizations and be their users until told to stop."""

import signal
import threading
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from plugspace_queue import queue_manager
from tests.chaos.calls import Book
from tests.chaos.load import ORGANIZATIONS, Numbers, Recent, User

USERS = 3


class Command(BaseCommand):
    """Ends with SIGTERM, when every call that is under way has its answer."""

    help = "The load of a chaos run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--book", type=Path, required=True)
        parser.add_argument("--seed", required=True)
        parser.add_argument("--rate", type=float, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        for name, tier in ORGANIZATIONS.items():
            queue_manager.set_organization(name, tier=tier)
        book, numbers, recent = Book(options["book"]), Numbers(), Recent()
        users = [
            User(f"{options['seed']}-{n}", options["rate"] / USERS, book, numbers, recent)
            for n in range(USERS)
        ]
        options["book"].touch()
        for user in users:
            user.start()
        stopping.wait()
        for user in users:
            user.stop()
        for user in users:
            user.join()
