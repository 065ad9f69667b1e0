"""The demo project with processors that run alone, in processes of their own."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.processes.alone"]
PLUGSPACE_QUEUE = {
    "LEASE": 3.0,
    "SHUTDOWN_GRACE": 2.0,
    "RELAY_INTERVAL": 1.0,
    "HARD_STOP": 0.5,
    "CONCURRENCY": {"ANALYZE": 2},
}
