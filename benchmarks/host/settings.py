"""The demo project's settings with the benchmark's processor in place of the demo's."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.host"]
