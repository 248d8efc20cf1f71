"""The migrations lead from nothing, and from every released schema, to what the tables say."""

import ast
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from homeserver.core.relations import annotation_key
from homeserver.database import migrations
from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError
from homeserver.database.migrate import alembic_config, engine_url, upgrade
from homeserver.database.schema import HEAD, REVISIONS, Schema, state_of
from homeserver.database.tables import metadata
from tests.database.conftest import POSTGRES
from tests.databases import Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> Iterator[Location]:
    """A database without any table."""
    if request.param == "sqlite":
        yield Location.parse(f"sqlite:///{tmp_path}/new/homeserver.db")
    elif POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    else:
        with databases.own_postgresql(with_schema=False) as url:
            yield Location.parse(url)


def differences(location: Location) -> list[object]:
    """What a further migration would have to change."""
    engine = sqlalchemy.create_engine(engine_url(location))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "include_name": is_ours, "include_object": is_table}
            )
            return list(compare_metadata(context, metadata))
    finally:
        engine.dispose()


def is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Whether it is for the tables to say that there is such a thing: SQLite's tables for search are not."""
    del parents
    return kind != "table" or not str(name).startswith(("search_index", "directory_index"))


def is_table(thing: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
    """As `is_ours`, of what alembic cannot describe: PostgreSQL's indexes for search."""
    del thing, kind, reflected, other
    return name not in ("ix_search_texts_terms", "ix_directory_users_terms")


SQLITE_SCHEMA = (
    (
        "SELECT t.name, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk, t.sql LIKE '%WITHOUT ROWID%'"
        " FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name != 'alembic_version'"
    ),
    "SELECT tbl_name, name, replace(sql, '\n', '') FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
)
POSTGRES_SCHEMA = (
    (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name != 'alembic_version'"
    ),
    (
        "SELECT tablename, indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'public' AND tablename != 'alembic_version'"
    ),
    (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conrelid != 'alembic_version'::regclass"
    ),
)


def schema(location: Location) -> list[list[str]]:
    """All columns, indexes and constraints as the database describes them: more than alembic compares."""
    queries = SQLITE_SCHEMA if location.backend == "sqlite" else POSTGRES_SCHEMA
    return [sorted(map(repr, execute(location, query))) for query in queries]


def tables(location: Location) -> set[str]:
    engine = sqlalchemy.create_engine(engine_url(location))
    try:
        names = sqlalchemy.inspect(engine).get_table_names()
        return {name for name in names if is_ours(name, "table", None)}
    finally:
        engine.dispose()


def execute(location: Location, sql: str) -> list[tuple[object, ...]]:
    if location.backend == "sqlite":
        Path(location.target).parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(location.target, isolation_level=None)) as connection:
            return list(connection.execute(sql))
    with psycopg.connect(location.target, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return list(cursor) if cursor.description else []


def test_the_revisions_are_those_in_the_folder() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [HEAD]
    in_order = [each.revision for each in script.walk_revisions()][::-1]
    assert in_order == list(REVISIONS)


def test_from_nothing(empty: Location) -> None:
    assert state_of(empty) == (Schema.EMPTY, None)
    upgrade(empty)
    assert state_of(empty) == (Schema.CURRENT, HEAD)
    assert differences(empty) == []
    assert tables(empty) == {*metadata.tables, "alembic_version"}
    assert execute(empty, "SELECT count(*) FROM stream") == [(1,)]


def test_it_is_the_schema_that_the_tables_describe(
    empty: Location, databases: Databases, tmp_path: Path
) -> None:
    upgrade(empty)
    if empty.backend == "sqlite":
        described = Location.parse(f"sqlite:///{tmp_path}/described.db")
    else:
        described = Location.parse(databases._url_of(databases._create(None)))
    engine = sqlalchemy.create_engine(engine_url(described))
    metadata.create_all(engine)
    engine.dispose()
    execute(described, "CREATE TABLE alembic_version (version_num TEXT)")
    assert schema(empty) == schema(described)


def test_twice_is_once(empty: Location) -> None:
    upgrade(empty)
    execute(empty, "UPDATE stream SET position = 77")
    upgrade(empty)
    assert execute(empty, "SELECT position FROM stream") == [(77,)]


@pytest.mark.parametrize("revision", REVISIONS)
def test_from_every_released_schema(empty: Location, revision: str) -> None:
    upgrade(empty, revision)
    execute(empty, "INSERT INTO profiles (user_id, field, value) VALUES ('@a:b', 'displayname', '\"A\"')")
    execute(empty, "UPDATE stream SET position = 77")
    upgrade(empty)
    assert state_of(empty) == (Schema.CURRENT, HEAD)
    assert differences(empty) == []
    assert execute(empty, "SELECT position FROM stream") == [(77,)]
    assert execute(empty, "SELECT user_id FROM profiles") == [("@a:b",)]


def test_a_migration_that_fails_leaves_nothing_behind(empty: Location) -> None:
    """Here a stranger's table has the name of one of ours."""
    execute(empty, "CREATE TABLE users (a INTEGER)")
    with pytest.raises(DatabaseError, match="users"):
        upgrade(empty)
    assert tables(empty) <= {"users"}
    assert state_of(empty) == (Schema.EMPTY, None)
    execute(empty, "DROP TABLE users")
    upgrade(empty)
    assert differences(empty) == []


def test_a_later_schema_is_refused(empty: Location) -> None:
    upgrade(empty)
    execute(empty, "UPDATE alembic_version SET version_num = '9999'")
    for use in (upgrade, state_of):
        with pytest.raises(DatabaseError, match="9999"):
            use(empty)


def test_migrations_do_not_depend_on_the_tables() -> None:
    """A migration says itself what it does: the tables go on changing after its release."""
    for path in sorted((Path(migrations.__file__).parent / "versions").glob("0*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any("homeserver" in (name or "") for name in (module, *names)), path


def test_alembic_finds_its_folder() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        assert ScriptDirectory.from_config(alembic_config(connection)).get_current_head() == HEAD
    engine.dispose()


EVENT = (
    "INSERT INTO events (event_nid, event_id, room_nid, position, depth, origin_server_ts, type, state_key, sender, "
    "status, notify, pdu) VALUES ({nid}, '${nid}', {room}, {position}, 1, {nid}, 'm.room.message', NULL, '@a:b', "
    "{status}, 0, {pdu})"
)


def add_event(
    location: Location,
    nid: int,
    relates_to: object = None,
    *,
    room: int = 1,
    status: int = 0,
    position: int | None = 0,
    **content: object,
) -> None:
    """An event as the schema had it before there were relations; `position` 0: the number."""
    if relates_to is not None:
        content["m.relates_to"] = relates_to
    pdu = json.dumps({"content": content}, separators=(",", ":")).encode().hex()
    literal = f"X'{pdu}'" if location.backend == "sqlite" else f"'\\x{pdu}'"
    place = "NULL" if position is None else position or nid
    execute(location, EVENT.format(nid=nid, room=room, status=status, position=place, pdu=literal))


def test_relations_of_stored_events_are_found(empty: Location) -> None:
    upgrade(empty, "0002")
    thread, edit = {"rel_type": "m.thread", "event_id": "$1"}, {"rel_type": "m.replace", "event_id": "$1"}
    add_event(empty, 1)
    add_event(empty, 2, thread)
    add_event(empty, 3, thread, position=-7)
    new_content: dict[str, Any] = {"m.new_content": {"m.relates_to": thread}}
    add_event(empty, 4, edit, **new_content)
    add_event(empty, 5, edit)
    add_event(empty, 6, {"rel_type": "m.annotation", "event_id": "$2", "key": "\0"})
    add_event(empty, 7, {"rel_type": "m.reference", "event_id": "$unknown"})
    # What is not shown, or elsewhere, or malformed, relates to nothing here.
    add_event(empty, 10, thread, status=2)
    add_event(empty, 11, thread, position=None)
    add_event(empty, 12, {"rel_type": "m.reference", "event_id": "$1"}, room=2)
    for nid, malformed in enumerate(
        ({"m.in_reply_to": {"event_id": "$1"}}, 5, {**thread, "event_id": "\0"}), 13
    ):
        add_event(empty, nid, malformed)
    add_event(empty, 16, body='"m.relates_to"')
    # More than are read at once.
    many = "(SELECT * FROM generate_series(100, 4999)) AS n (nid)"
    if empty.backend == "sqlite":
        numbers = "SELECT 100 UNION ALL SELECT nid + 1 FROM n WHERE nid < 4999"
        many = f"(WITH RECURSIVE n (nid) AS ({numbers}) SELECT * FROM n)"
    execute(
        empty,
        "INSERT INTO events (event_nid, event_id, room_nid, position, depth, origin_server_ts, type, sender, status, "
        f"notify, pdu) SELECT nid, '$' || nid, 1, nid, 1, nid, type, sender, 0, 0, pdu FROM {many}, "
        "(SELECT type, sender, pdu FROM events WHERE event_nid = 2) e",
    )
    upgrade(empty)
    found = execute(
        empty,
        "SELECT room_nid, parent_id, rel_type, event_id, position, is_sound, annotation_key IS NULL FROM relations "
        "WHERE position < 100 ORDER BY position",
    )
    assert [tuple(row) for row in found] == [
        (1, "$1", "m.thread", "$3", -7, 1, True),
        (1, "$1", "m.thread", "$2", 2, 1, True),
        (1, "$1", "m.replace", "$4", 4, 1, True),
        (1, "$1", "m.replace", "$5", 5, 0, True),
        (1, "$2", "m.annotation", "$6", 6, 1, False),
        (1, "$unknown", "m.reference", "$7", 7, 1, True),
        (2, "$1", "m.reference", "$12", 12, 1, True),
    ]
    assert execute(empty, "SELECT * FROM threads") == [(1, "$1", 4_902, -7, 4_999)]
    assert execute(empty, "SELECT event_nid, aggregates FROM events WHERE aggregates != 0") == [(1, 3)]
    ((key,),) = execute(empty, "SELECT annotation_key FROM relations WHERE event_id = '$6'")
    assert isinstance(key, bytes)
    assert key == annotation_key({"m.relates_to": {"key": "\0"}})
