"""The settings of a worker that finds no place for temporary files."""

import tempfile

from tests.processes.settings import *  # noqa: F403

tempfile.tempdir = "/proc/nowhere"
