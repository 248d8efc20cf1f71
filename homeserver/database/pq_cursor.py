"""A cursor on libpq's prepared statements, through psycopg's low-level interface.

Every statement of this server is written once and run for ever, with parameters and columns of four kinds:
integers, text, bytes, and lists as parameters. What psycopg's own cursor does to serve all others costs
several times the statement itself.
"""

import select
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg import Connection, OperationalError, errors
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from homeserver.core.errors import InvalidParam

Row = tuple[Any, ...]
_Decode = Callable[[bytes], Any]

_BINARY = 1


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _boolean(data: bytes) -> bool:
    return data != b"\0"


_DECODERS: dict[int, _Decode] = {
    16: _boolean,  # bool
    17: bytes,  # bytea
    19: bytes.decode,  # name
    20: _integer,  # int8
    21: _integer,  # int2
    23: _integer,  # int4
    25: bytes.decode,  # text
    1043: bytes.decode,  # varchar
}


class PqCursor:
    """Runs statements with numbered parameters (`$1`) on a connection; each is prepared at its first use."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._pgconn: PGconn = connection.pgconn
        self._names: dict[str, bytes] = {}
        self._decoders: dict[str, list[_Decode]] = {}
        self._rows: list[Row] = []
        self._next = 0
        self.rowcount = -1

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> None:
        """Run a statement. Errors: psycopg's."""
        name, values, formats = self._bound(sql, parameters)
        result = self._pgconn.exec_prepared(name, values, formats, _BINARY)
        status = result.status
        if status == ExecStatus.TUPLES_OK:
            self._rows = self._read(sql, result)
            self._next = 0
            self.rowcount = len(self._rows)
        elif status == ExecStatus.COMMAND_OK:
            self._rows = []
            self.rowcount = result.command_tuples or 0
        else:
            self._fail(result)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Run a statement for each row of parameters. Errors: psycopg's."""
        for row in rows:
            self.execute(sql, row)

    def execute_all(self, statements: Sequence[tuple[str, Sequence[Any]]], /) -> list[list[Row]]:
        """Run statements, all in one message with one answer; gives the rows of each.

        Errors: psycopg's, of the first that fails; those after it are not run.
        """
        if len(statements) == 1:
            self.execute(*statements[0])
            return [self.fetchall()]
        bound = [self._bound(sql, parameters) for sql, parameters in statements]
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        try:
            for name, values, formats in bound:
                pgconn.send_query_prepared(name, values, formats, _BINARY)
            pgconn.pipeline_sync()
            results = self._results()
        finally:
            if pgconn.status == ConnStatus.OK:
                pgconn.exit_pipeline_mode()
        rows: list[list[Row]] = []
        for (sql, _), result in zip(statements, results, strict=True):
            if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
                self._fail(result)
            rows.append(self._read(sql, result) if result.nfields else [])
        return rows

    def _results(self) -> list[PGresult]:
        """The results of a pipeline, up to its end."""
        results: list[PGresult] = []
        waiting = select.poll()
        while True:
            result = self._wait_for_result(waiting)
            # Nothing stands between two results.
            if result is not None:
                if result.status == ExecStatus.PIPELINE_SYNC:
                    return results
                results.append(result)

    def _wait_for_result(self, waiting: "select.poll") -> PGresult | None:
        """The next result. psycopg would keep all other threads from running while it waits."""
        pgconn = self._pgconn
        while (unsent := pgconn.flush()) or pgconn.is_busy():
            waiting.register(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
            waiting.poll()
            pgconn.consume_input()
        if pgconn.status != ConnStatus.OK:
            raise OperationalError(pgconn.get_error_message())
        return pgconn.get_result()

    def command(self, sql: bytes) -> bytes | None:
        """Run statements without parameters, such as BEGIN, unprepared; gives the first value of the last.

        Errors: psycopg's.
        """
        result = self._pgconn.exec_(sql)
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            self._fail(result)
        return result.get_value(0, 0) if result.ntuples else None

    def fetchone(self) -> Row | None:
        """The next row of the last statement."""
        if self._next >= len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchall(self) -> list[Row]:
        """The rows of the last statement that have not been taken."""
        rows, self._rows = self._rows[self._next :], []
        return rows

    def close(self) -> None:
        """Let go of the rows."""
        self._rows = []

    def _bound(self, sql: str, parameters: Sequence[Any]) -> tuple[bytes, list[Any], list[int]]:
        """The name of the prepared statement, and its parameters as libpq takes them."""
        name = self._names.get(sql)
        if name is None:
            name = self._prepare(sql)
        values = [_encoded(value) for value in parameters]
        return name, values, [_BINARY if type(value) is bytes else 0 for value in parameters]

    def _prepare(self, sql: str) -> bytes:
        name = b"s%d" % len(self._names)
        result = self._pgconn.prepare(name, sql.encode())
        if result.status != ExecStatus.COMMAND_OK:
            self._fail(result)
        self._names[sql] = name
        return name

    def _read(self, sql: str, result: PGresult) -> list[Row]:
        columns = result.nfields
        decoders = self._decoders.get(sql)
        if decoders is None:
            # A type that is not in the table is a statement that needs a cast: better now than as wrong data.
            decoders = self._decoders[sql] = [_DECODERS[result.ftype(column)] for column in range(columns)]
        get = result.get_value
        fields = list(enumerate(decoders))
        return [
            tuple(None if (value := get(row, column)) is None else decode(value) for column, decode in fields)
            for row in range(result.ntuples)
        ]

    def _fail(self, result: PGresult) -> None:
        raise errors.error_from_result(result, self._connection.info.encoding)


def _encoded(value: Any) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return b"{%b}" % b",".join(map(_element, value))
    raise TypeError(f"no parameter of a statement: {type(value).__name__}")


def _element(value: Any) -> bytes:
    """One element of an array parameter."""
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, str):
        return b'"%b"' % _text(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    raise TypeError(f"no element of a list of a statement: {type(value).__name__}")


def _text(value: str) -> bytes:
    data = value.encode()
    if b"\0" in data:
        # libpq would take what stands before it for the whole text.
        raise InvalidParam("the character U+0000 cannot be stored")
    return data
