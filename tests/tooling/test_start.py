"""What a process of a project imports when it starts."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
import django
django.setup()
print(*(name for name in sys.modules if name.startswith("plugspace_queue.")))
"""

LATER = {
    # Pages of the admin take it from `admin.manager`: few processes show one.
    "plugspace_queue.manager",
    "plugspace_queue.api",
    "plugspace_queue.worker",
    "plugspace_queue.maintenance",
    "plugspace_queue.workflows.submission",
    "plugspace_queue.services.waits",
}
"""Imported when they are needed: they would make every start slower."""


def test_a_start_imports_neither_the_manager_nor_the_api_nor_the_worker():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )

    imported = set(done.stdout.split())

    assert "plugspace_queue.admin" in imported
    assert imported & LATER == set()
