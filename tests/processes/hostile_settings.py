"""The demo project with processors that do what no processor should."""

import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.processes.hostile"]
PLUGSPACE_QUEUE = {
    "LEASE": float(os.environ.get("TEST_LEASE", "3")),
    "SHUTDOWN_GRACE": 1.0,
    "RELAY_INTERVAL": 1.0,
    "HARD_STOP": 0.5,
    "BACKOFF_DELAY": 0.2,
}
