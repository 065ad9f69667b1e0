"""The demo project with processors that listen, or do not, when they are told to stop."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.processes.listening"]
PLUGSPACE_QUEUE = {"LEASE": 3.0, "SHUTDOWN_GRACE": 1.0, "RELAY_INTERVAL": 1.0, "HARD_STOP": 2.0}
