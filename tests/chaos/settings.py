"""The demo project with short clocks, and processors that keep a journal of what they run."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS
from tests.chaos import clocks

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.app"]
PLUGSPACE_QUEUE = {
    "LEASE": clocks.LEASE,
    "SHUTDOWN_GRACE": clocks.GRACE,
    "HARD_STOP": clocks.HARD_STOP,
    "RELAY_INTERVAL": 1.0,
    "BACKOFF_DELAY": 0.5,
    "EMBEDDED": False,
}

# Runs are traced by these logs: each line tells its time, to be laid beside the journal.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"timed": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "timed"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
