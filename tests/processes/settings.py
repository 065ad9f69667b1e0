"""The demo project with processors that do what a test's prompt says."""

import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.processes.app"]
PLUGSPACE_QUEUE = {
    "LEASE": float(os.environ.get("TEST_LEASE", "3")),
    "SHUTDOWN_GRACE": float(os.environ.get("TEST_GRACE", "2")),
    "RELAY_INTERVAL": 1.0,
    "MAX_MEMORY": int(os.environ.get("TEST_MAX_MEMORY", "0")),
    "START_PATIENCE": float(os.environ.get("TEST_START_PATIENCE", "60")),
}
