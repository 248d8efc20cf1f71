"""Fixtures for tests of `rooms`: the databases of the tests of `storage`, and those of the tests of `services`."""

from tests.services.conftest import clock, commits, database
from tests.storage.conftest import store

__all__ = ["clock", "commits", "database", "store"]
