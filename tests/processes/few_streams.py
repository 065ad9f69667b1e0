"""The demo project with the limits of streams that a test puts into STREAM_LIMITS, as JSON."""

import json
import os

from project.settings import *  # noqa: F403

PLUGSPACE_QUEUE = json.loads(os.environ.get("STREAM_LIMITS", "{}"))
