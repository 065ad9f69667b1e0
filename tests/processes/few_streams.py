"""The demo project with room for two streams of events."""

from project.settings import *  # noqa: F403

PLUGSPACE_QUEUE = {"MAX_STREAMS": 2}
