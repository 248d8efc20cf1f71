"""A cursor on libpq's prepared statements, through psycopg's low-level interface.

Every statement of this server is written once and run for ever, with parameters and columns of four kinds:
integers, text, bytes, and lists as parameters. What psycopg's own cursor does to serve all others costs
several times the statement itself.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg import Connection, errors
from psycopg.pq import ExecStatus
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
        name = self._names.get(sql)
        if name is None:
            name = self._prepare(sql)
        values = [_encoded(value) for value in parameters]
        formats = [_BINARY if type(value) is bytes else 0 for value in parameters]
        result = self._pgconn.exec_prepared(name, values, formats, _BINARY)  # type: ignore[arg-type]  # NULLs
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
