"""Settings of a site that keeps its connections to the database and never proves them."""

from tests.processes.settings import *  # noqa: F403
from tests.processes.settings import DATABASES, PLUGSPACE_QUEUE

DATABASES = {"default": DATABASES["default"] | {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}}
PLUGSPACE_QUEUE = PLUGSPACE_QUEUE | {"HARD_STOP": 1.0}
