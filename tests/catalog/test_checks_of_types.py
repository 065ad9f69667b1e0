"""What `manage.py check` says of task types and their processors."""

import sys
from typing import Any

import pytest

from plugspace_queue.processing import checks, registry
from tests.catalog.conftest import Declare


def test_a_type_that_forgets_a_tier_which_another_limits_is_warned_of(declare: Declare):
    declare("TRANSCRIBE", quotas={"starter": 5})
    declare("NOTE", quotas={"free": 1, "*": -1})
    declare("HOUSEKEEPING", internal=True)

    (found,) = checks.quotas_are_said(None)

    assert found.id == "psq.W010"
    assert "TRANSCRIBE declares no quota for free, professional:" in found.msg


def test_a_model_that_pydantic_cannot_validate_is_an_error(declare: Declare):
    declare("TRANSCRIBE", input=dict[str, Any], output=type("Plain", (), {}))

    (found,) = checks.models_of_types_are_usable(None)

    assert (found.id, "TRANSCRIBE: output" in found.msg) == ("psq.E015", True)


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_are_loaded", False)


def test_a_processors_module_that_cannot_be_imported_is_an_error(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
):
    # Imported again it registers each processor twice.
    monkeypatch.delitem(sys.modules, "project.processors")

    (found,) = checks.processors_can_be_imported(None)

    assert (found.id, "ProcessorConflict" in found.msg) == ("psq.E014", True)


def test_processors_are_imported_once(unloaded: None):
    # They are in sys.modules, so importing them again registers nothing twice.
    assert checks.processors_can_be_imported(None) == []
    assert registry._are_loaded
