"""Callers of the API, as in its own tests."""

from tests.api.conftest import acme, administrator, key_of, staff

__all__ = ["acme", "administrator", "key_of", "staff"]
