"""The demo project with processors that go on when the test opens their gates."""

import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.processes.gated"]
PLUGSPACE_QUEUE = {
    "LEASE": float(os.environ.get("TEST_LEASE", "3")),
    "SHUTDOWN_GRACE": float(os.environ.get("TEST_GRACE", "2")),
    "HARD_STOP": float(os.environ.get("TEST_HARD_STOP", "1")),
    "RELAY_INTERVAL": 1.0,
}
