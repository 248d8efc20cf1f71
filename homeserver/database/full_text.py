"""Looking for terms in tables that have an index for that, as each database does it."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table, bindparam, types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import BindParameter

from homeserver.database.statements import Backend


class _HasTerms(ColumnElement[bool]):
    """A row's terms are as the parameter says; see `has_terms`."""

    inherit_cache = False
    type = types.Boolean()

    def __init__(self, table: Table, index: str, param: BindParameter[Any]) -> None:
        (self.nid,) = table.primary_key.columns
        self.terms = table.c.terms
        self.index = index
        self.param = param

    def self_group(self, against: Any = None) -> ColumnElement[bool]:
        del against
        return self


@compiles(_HasTerms, "sqlite")
def _has_terms_sqlite(element: _HasTerms, compiler: SQLCompiler, **kw: Any) -> str:
    nid, param = compiler.process(element.nid, **kw), compiler.process(element.param, **kw)
    return f"{nid} IN (SELECT rowid FROM {element.index} WHERE {element.index} MATCH {param})"


@compiles(_HasTerms, "postgresql")
def _has_terms_postgresql(element: _HasTerms, compiler: SQLCompiler, **kw: Any) -> str:
    terms, param = compiler.process(element.terms, **kw), compiler.process(element.param, **kw)
    return f"array_to_tsvector(string_to_array({terms}, ' ')) @@ CAST({param} AS tsquery)"


def has_terms(table: Table, index: str, name: str) -> ColumnElement[bool]:
    """The row of `table` has all terms that the parameter `name` lists; see `all_of`.

    `index` is SQLite's FTS5 table for the column `terms`.
    """
    return _HasTerms(table, index, bindparam(name, type_=types.Text()))


def all_of(terms: Iterable[str], backend: Backend, *, begun: Iterable[str] = ()) -> str:
    """The parameter that asks for all of these terms, and for terms that begin like each of `begun`.

    All are made of letters, digits and marks.
    """
    if backend == "sqlite":
        return " AND ".join([*(f'"{term}"' for term in terms), *(f'"{term}"*' for term in begun)])
    return " & ".join([*(f"'{term}'" for term in terms), *(f"'{term}':*" for term in begun)])
