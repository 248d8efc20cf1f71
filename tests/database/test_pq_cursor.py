"""What goes through the cursor on libpq comes out as it was."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors as pg_errors

from homeserver.core.errors import InvalidParam
from homeserver.database.postgresql import DRIVER
from homeserver.database.pq_cursor import PqCursor
from tests.database.test_unavailable import cut_all

integers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def cursor(postgres_url: str) -> Iterator[PqCursor]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield PqCursor(connection)


@many
@given(st.none() | integers, st.none() | texts, st.none() | st.binary())
def test_single_values(cursor: PqCursor, integer: int | None, text: str | None, data: bytes | None) -> None:
    cursor.execute("SELECT $1::bigint, $2::text, $3::bytea", [integer, text, data])
    assert cursor.fetchall() == [(integer, text, data)]


@many
@given(st.lists(integers), st.lists(texts))
def test_lists(cursor: PqCursor, numbers: list[int], words: list[str]) -> None:
    cursor.execute("SELECT count(*), sum(n)::text FROM unnest($1::bigint[]) AS n", [numbers])
    assert cursor.fetchone() == (len(numbers), str(sum(numbers)) if numbers else None)
    cursor.execute("SELECT w FROM unnest($1::text[]) WITH ORDINALITY AS u(w, place) ORDER BY place", [words])
    assert cursor.fetchall() == [(word,) for word in words]
    cursor.execute("SELECT w FROM unnest($1::text[]) AS w WHERE w = ANY($2::text[])", [words, set(words)])
    assert sorted(row[0] for row in cursor.fetchall()) == sorted(words)


@pytest.mark.parametrize(
    ("sql", "value"), [("int2", -32768), ("int4", -(2**31)), ("int8", 2**62), ("bool", True)]
)
def test_types_of_columns(cursor: PqCursor, sql: str, value: object) -> None:
    cursor.execute(f"SELECT $1::text::{sql}, NULL::{sql}", [str(value)])
    assert cursor.fetchall() == [(value, None)]


def test_rows_are_taken_once(cursor: PqCursor) -> None:
    cursor.execute("SELECT n FROM generate_series($1::bigint, 4) AS n", [1])
    assert cursor.rowcount == 4
    assert cursor.fetchone() == (1,)
    assert cursor.fetchall() == [(2,), (3,), (4,)]
    assert (cursor.fetchone(), cursor.fetchall()) == (None, [])
    cursor.execute("SELECT n FROM generate_series($1::bigint, 4) AS n", [9])
    assert (cursor.fetchone(), cursor.rowcount) == (None, 0)


def test_changed_rows_are_counted(cursor: PqCursor) -> None:
    cursor.execute("CREATE TEMPORARY TABLE t (n bigint PRIMARY KEY)")
    cursor.executemany("INSERT INTO t VALUES ($1)", [[1], [2], [3]])
    cursor.execute("UPDATE t SET n = -n WHERE n > $1", [1])
    assert (cursor.rowcount, cursor.fetchone()) == (2, None)
    with pytest.raises(pg_errors.UniqueViolation):
        cursor.execute("INSERT INTO t VALUES ($1)", [1])
    cursor.execute("INSERT INTO t VALUES ($1) RETURNING n", [5])
    assert cursor.fetchall() == [(5,)]


@pytest.mark.parametrize("value", ["a\0b", ["a", "b\0"]])
def test_nul_is_refused_rather_than_cutting_the_text(cursor: PqCursor, value: object) -> None:
    with pytest.raises(InvalidParam, match=r"U\+0000"):
        cursor.execute("SELECT $1::text", [value])


@pytest.mark.parametrize("value", [1.5, bytearray(b"a"), memoryview(b"a"), object(), [b"a"], [None], [1.5]])
def test_other_types_are_refused(cursor: PqCursor, value: object) -> None:
    with pytest.raises(TypeError):
        cursor.execute("SELECT $1::text", [value])


def test_a_column_of_another_type_is_refused(cursor: PqCursor) -> None:
    with pytest.raises(KeyError):
        cursor.execute("SELECT 1.5::numeric")


def test_a_statement_that_cannot_be_prepared_stays_an_error(cursor: PqCursor) -> None:
    for _ in range(2):
        with pytest.raises(pg_errors.UndefinedTable):
            cursor.execute("SELECT * FROM nowhere")
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


def test_statements_survive_a_rollback(cursor: PqCursor) -> None:
    cursor.command(b"BEGIN")
    cursor.execute("SELECT $1::bigint", [1])
    with pytest.raises(pg_errors.DivisionByZero):
        cursor.execute("SELECT 1 / $1::bigint", [0])
    with pytest.raises(pg_errors.InFailedSqlTransaction):
        cursor.execute("SELECT $1::bigint", [1])
    cursor.command(b"ROLLBACK")
    cursor.execute("SELECT $1::bigint", [1])
    assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("use", ["execute", "prepare", "command", "execute_all"])
def test_a_lost_connection_is_a_temporary_failure(cursor: PqCursor, postgres_url: str, use: str) -> None:
    cursor.execute("SELECT 1")
    cut_all(postgres_url)
    uses: dict[str, Callable[[], object]] = {
        "execute": lambda: cursor.execute("SELECT 1"),
        "prepare": lambda: cursor.execute("SELECT 2"),
        "command": lambda: cursor.command(b"BEGIN"),
        "execute_all": lambda: cursor.execute_all([("SELECT 1", ()), ("SELECT 1", ())]),
    }
    for _ in range(2):
        with pytest.raises(psycopg.Error) as caught:
            uses[use]()
        assert DRIVER.unavailable(caught.value) is not None


def test_several_statements_give_the_rows_of_each(cursor: PqCursor) -> None:
    cursor.execute("CREATE TEMPORARY TABLE t (a BIGINT PRIMARY KEY)")
    insert = "INSERT INTO t VALUES ($1::BIGINT)"
    for _ in range(2):
        answers = cursor.execute_all(
            [
                (insert, [1]),
                ("SELECT a FROM t", ()),
                ("DELETE FROM t RETURNING a + 1", ()),
                ("SELECT a FROM t", ()),
            ]
        )
        assert answers == [[], [(1,)], [(2,)], []]
    assert cursor.execute_all([("SELECT 7", ())]) == [[(7,)]]
    cursor.execute("SELECT 8")
    assert cursor.fetchone() == (8,)


def test_of_several_statements_the_first_that_fails_is_told(cursor: PqCursor) -> None:
    cursor.execute("CREATE TEMPORARY TABLE t (a BIGINT PRIMARY KEY)")
    insert = "INSERT INTO t VALUES ($1::BIGINT)"
    cursor.command(b"BEGIN")
    with pytest.raises(pg_errors.UniqueViolation):
        cursor.execute_all([(insert, [1]), (insert, [1]), ("SELECT 1 / 0", ()), (insert, [2])])
    cursor.command(b"ROLLBACK")
    cursor.execute("SELECT a FROM t")
    assert cursor.fetchall() == []


def test_much_can_be_sent_and_received_at_once(cursor: PqCursor) -> None:
    text = "x" * 100_000
    answers = cursor.execute_all([("SELECT $1::TEXT", [text])] * 200)
    assert answers == [[(text,)]] * 200
