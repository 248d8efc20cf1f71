"""Looking for terms in `search_texts`, as each database does it."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import BindParameter

from homeserver.database.statements import Backend
from homeserver.database.tables.search import search_texts


class _HasTerms(ColumnElement[bool]):
    """A row's terms are as the parameter says; see `has_terms`."""

    inherit_cache = False
    type = types.Boolean()

    def __init__(self, param: BindParameter[Any]) -> None:
        self.event_nid = search_texts.c.event_nid
        self.terms = search_texts.c.terms
        self.param = param

    def self_group(self, against: Any = None) -> ColumnElement[bool]:
        del against
        return self


@compiles(_HasTerms, "sqlite")
def _has_terms_sqlite(element: _HasTerms, compiler: SQLCompiler, **kw: Any) -> str:
    event_nid, param = compiler.process(element.event_nid, **kw), compiler.process(element.param, **kw)
    return f"{event_nid} IN (SELECT rowid FROM search_index WHERE search_index MATCH {param})"


@compiles(_HasTerms, "postgresql")
def _has_terms_postgresql(element: _HasTerms, compiler: SQLCompiler, **kw: Any) -> str:
    terms, param = compiler.process(element.terms, **kw), compiler.process(element.param, **kw)
    return f"array_to_tsvector(string_to_array({terms}, ' ')) @@ CAST({param} AS tsquery)"


def has_terms(name: str) -> ColumnElement[bool]:
    """The row of `search_texts` has all terms that the parameter `name` lists; see `all_of`."""
    return _HasTerms(bindparam(name, type_=types.Text()))


def all_of(terms: Iterable[str], backend: Backend) -> str:
    """The parameter that asks for all of these terms, which are made of letters, digits and marks."""
    if backend == "sqlite":
        return " AND ".join(f'"{term}"' for term in terms)
    return " & ".join(f"'{term}'" for term in terms)
