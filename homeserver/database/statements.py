"""Statements: SQLAlchemy constructs that are compiled once per database and run on the driver's cursor.

A statement is written with `bindparam` and lives as a module constant in `storage`. Running it costs what the
driver costs: parameters go in and tuples come out without further conversion, so columns hold only integers,
text and bytes (tables keep to `BigInteger`, `SmallInteger`, `Text` and `LargeBinary`).
"""

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Table, bindparam, cast, select, true, types, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.dialects.sqlite.dml import OnConflictClause, OnConflictDoNothing, OnConflictDoUpdate
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement, ColumnElement, FromClause
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import BindParameter
from sqlalchemy.sql.functions import FunctionElement

from homeserver.core.errors import InvalidParam

Backend = Literal["sqlite", "postgresql"]


@functools.cache
def _dialect(backend: Backend) -> Dialect:
    """How the database's SQL is written. SQLAlchemy's PostgreSQL weighs some megabytes: only who uses it has it."""
    if backend == "sqlite":
        return sqlite.dialect(paramstyle="named")
    module = importlib.import_module("sqlalchemy.dialects.postgresql.psycopg")
    dialect: Dialect = module.PGDialect_psycopg(paramstyle="numeric_dollar")
    return dialect


@compiles(OnConflictDoNothing, "postgresql")
@compiles(OnConflictDoUpdate, "postgresql")
def _on_conflict_postgresql(element: OnConflictClause, compiler: SQLCompiler, **kw: Any) -> str:
    """What is written with SQLite's `insert` reads the same on PostgreSQL, which can also name a constraint."""
    element.constraint_target = None  # type: ignore[attr-defined]  # SQLAlchemy has it, its types do not
    visit = getattr(compiler, f"visit_{element.__visit_name__}")
    text: str = visit(element, **kw)
    return text


class _InList(ColumnElement[bool]):
    """`column IN (a list that is one parameter)`; see `in_list`."""

    inherit_cache = False
    type = types.Boolean()

    def __init__(self, column: ColumnElement[Any], param: BindParameter[Any], *, integers: bool) -> None:
        self.column = column
        self.param = param
        self.integers = integers

    def self_group(self, against: Any = None) -> ColumnElement[bool]:
        del against
        return self


@compiles(_InList, "sqlite")
def _in_list_sqlite(element: _InList, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    return f"{column} IN (SELECT value FROM json_each({compiler.process(element.param, **kw)}))"


@compiles(_InList, "postgresql")
def _in_list_postgresql(element: _InList, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    cast = "BIGINT[]" if element.integers else "TEXT[]"
    return f"{column} = ANY(CAST({compiler.process(element.param, **kw)} AS {cast}))"


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column` is among the values of the parameter `name`, a list of integers or of strings."""
    integers = isinstance(column.type, types.Integer)
    if not integers and not isinstance(column.type, types.Text):
        raise TypeError(f"{column} holds neither integers nor text")
    return _InList(column, bindparam(name, type_=_LIST), integers=integers)


class _Bytewise(ColumnElement[str]):
    """A text that is compared by its bytes; see `bytewise`."""

    inherit_cache = False
    type = types.Text()

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column


@compiles(_Bytewise, "sqlite")
def _bytewise_sqlite(element: _Bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.column, **kw)


@compiles(_Bytewise, "postgresql")
def _bytewise_postgresql(element: _Bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return f'{compiler.process(element.column, **kw)} COLLATE "C"'


def bytewise(column: ColumnElement[Any]) -> ColumnElement[str]:
    """The text `column` in the order of its bytes, whatever PostgreSQL's order of letters is."""
    return _Bytewise(column)


class _RowsIn(FunctionElement[Any]):
    """The rows of a parameter that holds a JSON array of arrays; see `insert_rows`."""

    inherit_cache = False
    type = types.Text()


@compiles(_RowsIn, "sqlite")
def _rows_in_sqlite(element: _RowsIn, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(_RowsIn, "postgresql")
def _rows_in_postgresql(element: _RowsIn, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_elements(CAST({compiler.process(element.clauses, **kw)} AS JSON))"


class _Item(ColumnElement[Any]):
    """An item of a row of `_RowsIn`: text, or with `is_integer` an integer."""

    inherit_cache = False
    type = types.Text()

    def __init__(self, row: ColumnElement[Any], index: int, *, is_integer: bool) -> None:
        self.row = row
        self.index = index
        self.is_integer = is_integer


@compiles(_Item, "sqlite")
def _item_sqlite(element: _Item, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_extract({compiler.process(element.row, **kw)}, '$[{element.index}]')"


@compiles(_Item, "postgresql")
def _item_postgresql(element: _Item, compiler: SQLCompiler, **kw: Any) -> str:
    item = f"{compiler.process(element.row, **kw)} ->> {element.index}"
    return f"CAST({item} AS BIGINT)" if element.is_integer else f"({item})"


class _ListType(types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        del kw
        return "TEXT"


_LIST = _ListType()


class Compiled:
    """The text of a statement for one database, with what its parameters need."""

    __slots__ = ("defaults", "lists", "order", "sql")

    def __init__(
        self, sql: str, defaults: dict[str, object], lists: tuple[str, ...], order: tuple[str, ...] | None
    ) -> None:
        self.sql = sql
        self.defaults = defaults
        self.lists = lists
        self.order = order

    def parameters(self, given: dict[str, Any]) -> Any:
        """The parameters as the driver wants them: constants added, lists encoded, numbered ones in order."""
        if self.defaults:
            given = {**self.defaults, **given}
        if self.order is not None:
            return [given[name] for name in self.order]
        if self.lists:
            given = dict(given)
            for name in self.lists:
                given[name] = _json_list(list(given[name]))
        return given


def _json_list(values: list[int] | list[str]) -> str:
    """A list as a parameter for SQLite."""
    text = msgspec.json.encode(values).decode()
    if "\\u0000" in text and any("\0" in value for value in values if isinstance(value, str)):
        # SQLite would take what stands before it for the whole text.
        raise InvalidParam("the character U+0000 cannot be looked for")
    return text


class Statement:
    """A statement of both databases; `compiled` gives its text for one."""

    __slots__ = ("_columns", "_construct", "_texts")

    def __init__(self, construct: ClauseElement, columns: Sequence[str] | None) -> None:
        self._construct = construct
        self._columns = columns
        self._texts: dict[Backend, Compiled] = {}

    def compiled(self, backend: Backend) -> Compiled:
        """Compile at first use (once per process and database)."""
        found = self._texts.get(backend)
        if found is None:
            found = self._texts[backend] = self._compile(backend)
        return found

    def _compile(self, backend: Backend) -> Compiled:
        columns = None if self._columns is None else list(self._columns)
        compiled = self._construct.compile(dialect=_dialect(backend), column_keys=columns)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - tells the type checker
        sql = str(compiled)
        if "POSTCOMPILE" in sql:
            raise TypeError(f"a list of constants needs or_() or in_list(), not in_(): {sql}")
        required = {bind.key for bind in compiled.binds.values() if bind.required}
        defaults = {
            name: value
            for name, value in compiled.params.items()
            if name not in required and (value is not None or name not in (self._columns or ()))
        }
        lists = tuple(
            name for name, bind in compiled.binds.items() if bind.type is _LIST and backend == "sqlite"
        )
        order = tuple(compiled.positiontup) if compiled.positiontup is not None else None
        return Compiled(sql, defaults, lists, order)


def statement(construct: ClauseElement, columns: Sequence[str] | None = None) -> Statement:
    """Make a statement; `columns` names the parameters of an INSERT or UPDATE that says no values itself."""
    return Statement(construct, columns)


def insert_into(table: Table, *, ignore_conflict: bool = False) -> Statement:
    """Insert one row; a parameter for each column. With `ignore_conflict` an existing row stays as it is."""
    construct = insert(table)
    if ignore_conflict:
        construct = construct.on_conflict_do_nothing()
    return Statement(construct, [column.name for column in table.columns])


def insert_rows(
    table: Table, *columns: str, add_to: Sequence[str] = (), ignore_conflict: bool = False
) -> Statement:
    """Insert many rows, of which the parameter `rows` is the JSON: an array of arrays, see `rows_parameter`.

    An inner array has a row's values of `columns`, text or integers; the other columns have parameters of their own,
    the same for all rows. Of a row whose primary key is there already, the columns `add_to` are added to what they
    are; or with `ignore_conflict` it stays as it is. No two rows may have the same key.
    """
    given = _RowsIn(bindparam("rows", type_=types.Text())).table_valued("value", name="given")
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.name in columns:
            is_integer = isinstance(column.type, types.Integer)
            values[column.name] = _Item(given.c.value, columns.index(column.name), is_integer=is_integer)
        else:
            values[column.name] = cast(bindparam(column.name), column.type)
    # SQLite would else take `ON` for the beginning of a join's condition.
    rows = select(*values.values()).select_from(given).where(true())
    construct = insert(table).from_select(list(values), rows)
    if add_to:
        key = [column.name for column in table.primary_key]
        sums = {name: table.c[name] + construct.excluded[name] for name in add_to}
        construct = construct.on_conflict_do_update(index_elements=key, set_=sums)
    elif ignore_conflict:
        construct = construct.on_conflict_do_nothing()
    return Statement(construct, None)


def given_rows(columns: int) -> tuple[FromClause, list[ColumnElement[str]]]:
    """A table to select from, and its columns of text: what the parameter `rows` has, see `rows_parameter`."""
    given = _RowsIn(bindparam("rows", type_=types.Text())).table_valued("value", name="given")
    return given, [_Item(given.c.value, column, is_integer=False) for column in range(columns)]


def rows_parameter(rows: Sequence[Sequence[str | int]]) -> str:
    """The parameter `rows` of `insert_rows` and `given_rows`."""
    return msgspec.json.encode(rows).decode()


def upsert(table: Table, *, key: Sequence[str], keep: Sequence[str] = ()) -> Statement:
    """Insert one row, or replace the columns outside `key` and `keep` of the row with the same `key`."""
    construct = insert(table)
    names = [column.name for column in table.columns]
    changed = {name: construct.excluded[name] for name in names if name not in key and name not in keep}
    if changed:
        construct = construct.on_conflict_do_update(index_elements=list(key), set_=changed)
    else:
        construct = construct.on_conflict_do_nothing(index_elements=list(key))
    return Statement(construct, names)


def claim_due(table: Table, key: ColumnElement[Any], *columns: ColumnElement[Any]) -> Statement:
    """Puts off, to `until_ts`, the row that has been due longest (`due_ts` up to `now_ts`), and gives `columns` of it.

    `key` tells the table's rows apart. A row that another process claims at the moment is passed over.
    """
    due_ts = table.c.due_ts
    first = (
        select(key)
        .where(due_ts <= bindparam("now_ts"))
        .order_by(due_ts)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    claimed = update(table).where(key == first).values(due_ts=bindparam("until_ts"))
    return Statement(claimed.returning(*columns), None)
