"""The demo project with a processor of these tests, and else the settings that it comes with."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.ha.app"]
PLUGSPACE_QUEUE = {"SHUTDOWN_GRACE": 2.0}
