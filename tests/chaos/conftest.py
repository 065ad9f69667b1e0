"""The chaos package is run, not collected: its app would register its processors here."""

from pathlib import Path

import pytest

from plugspace_queue import queue_manager
from tests.chaos.scene import Scene

collect_ignore = ["app", "settings.py", "__main__.py"]


@pytest.fixture
def scene(transactional_db: None, tmp_path: Path) -> Scene:
    """An empty run of one organization."""
    queue_manager.set_organization("acme", tier="professional")
    return Scene(tmp_path)
