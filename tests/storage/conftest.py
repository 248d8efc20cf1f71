"""Fixtures for tests of `storage`: real databases, SQLite always, PostgreSQL where one is given."""

import os
from collections.abc import Iterator

import pytest

from homeserver.database.transactions import WriteTransaction
from tests.storage.store import Store, postgresql_store, sqlite_store

POSTGRES = "HOMESERVER_TEST_POSTGRES"
"""The environment variable with the URL of a database that tests may do anything with."""


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRES in os.environ else [])])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty database."""
    is_sqlite = request.param == "sqlite"
    with sqlite_store() if is_sqlite else postgresql_store(request.getfixturevalue("schema_url")) as made:
        yield made


@pytest.fixture
def tx(store: Store) -> Iterator[WriteTransaction]:
    """An open transaction on an empty database."""
    store.cursor.execute("BEGIN")
    yield store.transaction()
    store.cursor.execute("ROLLBACK")
