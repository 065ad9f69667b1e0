"""The processors that fail, with Sentry's SDK as its documentation sets it up."""

import os
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS
from tests.processes.settings import PLUGSPACE_QUEUE

INSTALLED_APPS = [*INSTALLED_APPS, "tests.processes.failing"]
PLUGSPACE_QUEUE = PLUGSPACE_QUEUE | {"BACKOFF_DELAY": 0.05, "HARD_STOP": 0.5, "MAX_RECOVERIES": 1}


class FileTransport(Transport):
    """Writes each event on a line of a file, and sends nothing anywhere."""

    def capture_envelope(self, envelope: Envelope) -> None:
        event: Any = envelope.get_event()
        if event is not None:
            with open(os.environ["TEST_SENTRY"], "ab") as file:
                item = next(item for item in envelope.items if item.type == "event")
                file.write(item.get_bytes() + b"\n")


if os.environ.get("TEST_SENTRY"):
    sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=FileTransport)
