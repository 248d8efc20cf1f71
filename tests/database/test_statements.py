"""Every statement of the program compiles for both databases, and both databases can run it."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import LargeBinary, bindparam, column, select

from homeserver.core.errors import InvalidParam
from homeserver.database.pq_cursor import _DECODERS
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.accounts import access_tokens
from tests.database.statements import all_statements
from tests.databases import Databases

STATEMENTS = all_statements()

SCANS = {
    "database.leaps.LEAP_AHEAD": "one row",
    "database.transactions.STREAM_ROW": "one row",
    "storage.schema_version.REVISION": "one row",
    # Most servers have none, since events are seldom slower than their receipts; what waits does so for hours at most.
    "storage.awaited_receipts.DUE": "what waits, each looked up by its event",
    "storage.awaited_receipts.IS_ANY_DUE": "what waits, each looked up by its event",
    "storage.destinations.BEHIND": "the index has only those that are behind",
    "storage.outbox_shards.ALL": "eight rows",
    "storage.outbox_shards.ALL_LOCKED": "eight rows",
    "storage.outbox_shards.COUNT": "a row for each process",
    "storage.outbox_shards.FORGET_DEAD": "a row for each process",
    "storage.memberships.ROOMS_WITH_GUESTS": "looks through the accounts once, at start",
    "storage.pending_joins.IS_ANY": "the rooms that are being entered",
    "storage.pending_joins.PRUNE": "the rooms that are being entered",
    "storage.reports.NEWEST": "no more than are asked for, in the order of the index",
    "storage.remote_device_lists.FAILING": "the index has only those that are to be asked for",
    "storage.rooms.COUNT": "statistics",
    "storage.search_texts.PROGRESS": "one row",
    "storage.search_texts.QUEUED": "no more than are asked for, in the order of the table",
    "storage.incoming_pdus.COUNT_EVERYTHING": "statistics",
    "storage.user_directory.ALL_MEMBER_EVENTS": "what the inner query has found",
    "storage.user_directory.SEEN_MEMBER_EVENTS": "what the inner query has found",
    "storage.user_directory_progress.PROGRESS": "one row",
    "storage.user_directory_progress.FIRST_SCAN": "no more than are asked for, in the order of the table",
    "positions of 1 kinds": "one row",
    "positions of 10 kinds": "one row",
}
"""Statements that read a whole table, and why they may."""


@pytest.fixture(scope="module")
def sqlite_connection(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sqlite3.Connection]:
    """An empty SQLite database."""
    url = databases.sqlite(tmp_path_factory.mktemp("statements"))
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def postgres_connection(databases: Databases) -> Iterator[psycopg.Connection]:
    """An empty PostgreSQL database, which plans without knowing parameters, and takes an index wherever it can."""
    if databases._postgres_url is None:
        pytest.skip("no PostgreSQL: HOMESERVER_TEST_POSTGRES is not set")
    with databases.own_postgresql() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute("SET enable_seqscan = off")
        yield connection


ALONE = """
import gc
from homeserver.database.statements import Statement
from tests.database.statements import all_statements

named = {id(each) for each in all_statements().values()}
made = [each for each in gc.get_objects() if isinstance(each, Statement)]
print(sorted(each.compiled("sqlite").sql for each in made if id(each) not in named))
"""


def test_all_statements_are_found() -> None:
    """A statement outside a module's constants would be compiled again and again.

    Looked for in a process of its own, where no test has made any.
    """
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert len(STATEMENTS) > 200


@pytest.mark.parametrize("name", STATEMENTS)
def test_sqlite_can_run_it(sqlite_connection: sqlite3.Connection, name: str) -> None:
    text = STATEMENTS[name].compiled("sqlite").sql
    parameters = dict.fromkeys(re.findall(r":(\w+)", text))
    plan = [row[3] for row in sqlite_connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]
    # What the statement itself makes, such as a recursive part, is no table.
    made = {f"SCAN {step.removeprefix('CO-ROUTINE ')}" for step in plan if step.startswith("CO-ROUTINE ")}
    scans = [
        step
        for step in plan
        if step.startswith("SCAN")
        and step not in made
        and not re.search("json_each|VIRTUAL TABLE|CONSTANT ROW|SUBQUERY", step)
    ]
    assert not scans or name in SCANS, scans


@pytest.mark.parametrize("name", STATEMENTS)
def test_postgresql_can_run_it(postgres_connection: psycopg.Connection, name: str) -> None:
    compiled = STATEMENTS[name].compiled("postgresql")
    pgconn = postgres_connection.pgconn
    result = pgconn.prepare(b"", compiled.sql.encode())
    assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.get_error_message()
    described = pgconn.describe_prepared(b"")
    types = {described.ftype(field) for field in range(described.nfields)}
    assert types <= set(_DECODERS), "a column needs a cast to a type that the cursor decodes"
    assert described.nparams == len(compiled.order or ())
    cursor = postgres_connection.cursor()
    cursor.execute(f"PREPARE it AS {compiled.sql}".encode())
    try:
        nothing = ", ".join(["NULL"] * described.nparams)
        arguments = f"({nothing})" if nothing else ""
        plan = [row[0] for row in cursor.execute(f"EXPLAIN EXECUTE it{arguments}".encode())]
    finally:
        cursor.execute("DEALLOCATE it")
    scans = [line for line in plan if "Seq Scan" in line]
    assert not scans or name in SCANS, plan


def test_a_list_of_bytes_is_refused() -> None:
    """SQLite's JSON has no bytes."""
    assert isinstance(access_tokens.c.token_hash.type, LargeBinary)
    with pytest.raises(TypeError):
        in_list(access_tokens.c.token_hash, "hashes")


def test_a_list_of_constants_is_refused() -> None:
    """It would be another text for each length."""
    bad = statement(select(column("a")).where(column("a").in_(bindparam("values", expanding=True))))
    with pytest.raises(TypeError, match="in_list"):
        bad.compiled("sqlite")


def test_a_list_with_nul_is_refused_on_sqlite() -> None:
    """SQLite takes what stands before it for the whole text: `["@a\\0"]` would find the user `@a`."""
    compiled = all_statements()["storage.account_data.OF_USERS"].compiled("sqlite")
    with pytest.raises(InvalidParam):
        compiled.parameters({"user_ids": ["@a\0"], "type": "t"})
    assert compiled.parameters({"user_ids": ["\\u0000"], "type": "t"})["user_ids"] == '["\\\\u0000"]'
