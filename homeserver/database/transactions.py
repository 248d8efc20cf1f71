"""What a transaction function is given."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import select

from homeserver.database.kinds import Kind, StreamRow
from homeserver.database.numbers import NumberPool
from homeserver.database.statements import Backend, Statement, statement
from homeserver.database.tables.stream import stream
from homeserver.runtime.caches import Cache

Row = tuple[Any, ...]
"""A row as the driver gives it; the storage function that asked for it names and types its columns."""

Question = tuple[Statement, dict[str, Any]]
"""A statement that reads, and its parameters."""

STREAM_ROW = statement(select(stream.c.position, *(stream.c[kind.value] for kind in Kind)))


class Cursor(Protocol):
    """The part of a DB-API cursor that both drivers share."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        ...

    def execute(self, sql: Any, parameters: Any = ..., /) -> object:
        """Run a statement."""
        ...

    def executemany(self, sql: Any, parameters: Any, /) -> object:
        """Run a statement for each of several sets of parameters."""
        ...

    def execute_all(self, statements: Any, /) -> list[list[Any]]:
        """Run several statements with their parameters; gives the rows of each."""
        ...

    def fetchone(self) -> Any:
        """The next row, `None` if there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        ...

    def close(self) -> object:
        """Let go of the rows."""
        ...


class Caches:
    """What a process remembers of rows that never change once committed, by their number."""

    def __init__(self, *, nodes: int = 5_000, events: int = 2_000, keys: int = 20_000) -> None:
        self.nodes: Cache[int, Any] = Cache(nodes)
        self.events: Cache[int, Any] = Cache(events)
        self.keys: Cache[tuple[str, str], int] = Cache(keys)
        self.key_names: Cache[int, tuple[str, str]] = Cache(keys)
        self.likely_rooms: Cache[str, int] = Cache(keys)
        """The numbers of rooms, perhaps of such as are gone: only to guess what to ask ahead."""
        self.room_names: Cache[int, Any] = Cache(keys)
        self.power_levels: Cache[str, Any] = Cache(1_000)
        # Of events that are about to be stored.
        self.policy_signatures: Cache[str, str] = Cache(1_000)
        self.server_acls: Cache[tuple[int, bool], Any] = Cache(1_000)
        self.resolutions: Cache[frozenset[int], Any] = Cache(1_000)
        self.rulesets: Cache[bytes, Any] = Cache(500)
        self.told: Cache[int, Any] = Cache(300)
        """What clients of sliding sync have been told, by step."""
        self.room_facts: Cache[int, Any] = Cache(keys)
        """What lists of rooms are filtered by, by the root of the room's state."""


class ReadTransaction:
    """One consistent snapshot of the database."""

    def __init__(self, cursor: Cursor, backend: Backend, caches: Caches) -> None:
        self._cursor = cursor
        self.backend: Backend = backend
        self.caches = caches
        self._answers: list[tuple[Question, list[Row]]] = []

    def ask_ahead(self, questions: Sequence[Question]) -> None:
        """Ask what will be asked next: where each question is a message to the database, all go in one.

        `one`, `all` and `value` find the answers, if the parameters are the same. Nothing may be changed in between.
        """
        if self.backend == "postgresql":
            compiled = [(query.compiled(self.backend), params) for query, params in questions]
            answers = self._cursor.execute_all(
                [(each.sql, each.parameters(params)) for each, params in compiled]
            )
            self._answers = list(zip(questions, answers, strict=True))

    def one(self, query: Statement, **params: Any) -> Row | None:
        """The first row, or `None`."""
        if self._answers and (known := self._answer(query, params)) is not None:
            return known[0] if known else None
        self._run(query, params)
        row: Row | None = self._cursor.fetchone()
        return row

    def all(self, query: Statement, **params: Any) -> list[Row]:
        """All rows."""
        if self._answers and (known := self._answer(query, params)) is not None:
            return known
        self._run(query, params)
        return self._cursor.fetchall()

    def value(self, query: Statement, **params: Any) -> Any:
        """The first column of the first row, or `None` if there is no row."""
        row = self.one(query, **params)
        return None if row is None else row[0]

    def stream_row(self) -> StreamRow:
        """The stream's position in this snapshot, and each kind's last one."""
        row = self.one(STREAM_ROW)
        assert row is not None  # noqa: S101 - the migration inserts it
        return StreamRow(row)

    def remember(self, cache: Cache[Any, Any], key: Any, value: Any) -> None:
        """Cache an immutable row that this transaction has read or made."""
        cache.put(key, value)

    def _answer(self, query: Statement, params: dict[str, Any]) -> list[Row] | None:
        """The rows, if they were asked for ahead; once."""
        for index, ((asked, with_params), rows) in enumerate(self._answers):
            if asked is query and with_params == params:
                del self._answers[index]
                return rows
        return None

    def _run(self, query: Statement, params: dict[str, Any]) -> None:
        compiled = query.compiled(self.backend)
        self._cursor.execute(compiled.sql, compiled.parameters(params))


class Published:
    """Rows that wait for their position: statements that share one, its kinds and its topics.

    `room_before` positions below it are left free. `position` is 0 until it has been taken.
    """

    __slots__ = ("kinds", "position", "room_before", "statements", "topics")

    def __init__(
        self,
        kinds: tuple[Kind, ...],
        topics: Sequence[str],
        statements: list[tuple[Statement, dict[str, Any]]],
        room_before: int,
    ) -> None:
        self.kinds = kinds
        self.topics = topics
        self.statements = statements
        self.room_before = room_before
        self.position = 0


class WriteTransaction(ReadTransaction):
    """A transaction that may change rows; nothing is acknowledged before it is committed."""

    def __init__(
        self,
        cursor: Cursor,
        backend: Backend,
        caches: Caches,
        numbers: NumberPool,
    ) -> None:
        super().__init__(cursor, backend, caches)
        self._numbers = numbers
        self.published: list[Published] = []
        self.told: set[str] = set()
        self._later: list[tuple[Statement, dict[str, Any]]] = []
        self.remembered: list[tuple[Cache[Any, Any], Any, Any]] = []
        self.savepoint_wanted = False
        self.changed = False

    def new_nid(self) -> int:
        """A number that no row has: for rooms, events, state keys and nodes."""
        return self._numbers.take()

    def execute(self, query: Statement, **params: Any) -> int:
        """Run an INSERT, UPDATE or DELETE; gives the number of rows it changed."""
        self._before_change()
        self._run(query, params)
        return self._cursor.rowcount

    def execute_later(self, query: Statement, **params: Any) -> None:
        """As `execute`, when the function has returned: together with what is published, which costs less."""
        self._later.append((query, params))

    def execute_many(self, query: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Run the statement once for each row of parameters."""
        self._before_change()
        compiled = query.compiled(self.backend)
        self._cursor.executemany(compiled.sql, [compiled.parameters(row) for row in rows])

    def returning(self, query: Statement, **params: Any) -> list[Row]:
        """Run a changing statement that has a RETURNING clause."""
        self._before_change()
        self._run(query, params)
        return self._cursor.fetchall()

    def publish(
        self,
        query: Statement,
        *,
        kind: Kind | tuple[Kind, ...],
        to: Sequence[str],
        also: Sequence[tuple[Statement, dict[str, Any]]] = (),
        room_before: int = 0,
        **params: Any,
    ) -> None:
        """Queue a row that takes the next position of the stream, told to the topics `to`.

        With several kinds it is the newest row of each.

        With `room_before` so many positions are left free before it, for rows that belong there and may come later:
        those are stored with their positions, and announced to nobody. Only where the commit waits for the disk.

        The statement gets the parameter `position`, and so do those of `also`, which share it. All run when
        the transaction function has returned, so they cannot be read back in it. They come after the
        stream's row is locked, so rows that others write without publishing must be locked before.
        """
        kinds = kind if isinstance(kind, tuple) else (kind,)
        self.published.append(Published(kinds, to, [(query, params), *also], room_before))

    def tell(self, topic: str) -> None:
        """Have the topic told after the commit, without any row of the stream: a hint that nobody may rely on."""
        self.told.add(topic)

    def flush(self, position: int) -> int:
        """Run what was to be run later, then what was published, from `position` on; gives the last position used."""
        statements = [*self._later]
        for row in self.published:
            position += row.room_before + 1
            row.position = position
            statements += ((query, {**params, "position": position}) for query, params in row.statements)
        if statements:
            self._before_change()
            compiled = [(query.compiled(self.backend), params) for query, params in statements]
            self._cursor.execute_all([(each.sql, each.parameters(params)) for each, params in compiled])
        return position

    def remember(self, cache: Cache[Any, Any], key: Any, value: Any) -> None:
        """As in a read, but not before the commit: what is rolled back was never there."""
        self.remembered.append((cache, key, value))

    def _before_change(self) -> None:
        self._answers = []
        if not self.changed:
            self.changed = True
            if self.savepoint_wanted:
                self._cursor.execute("SAVEPOINT function")
