"""Callers of the API, as in its own tests."""

from tests.api.conftest import acme, key_of, staff

__all__ = ["acme", "key_of", "staff"]
