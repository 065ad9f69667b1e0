"""The public names are part of the promise: a change of one must be seen in a review."""

import json
from pathlib import Path

from tests.contracts.surface import as_text

SNAPSHOT = Path(__file__).with_name("surface.json")
RENEW = "A public name has changed: look at the difference, then `make snapshot`."


def test_public_names_are_those_of_the_snapshot() -> None:
    assert json.loads(as_text()) == json.loads(SNAPSHOT.read_text(encoding="utf-8")), RENEW
