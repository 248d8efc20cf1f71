"""Finds every statement of the program."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator

import attrs
import msgspec

import homeserver
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement
from homeserver.database.writers import set_positions


def all_statements() -> dict[str, Statement]:
    """Every statement that a module of the program holds, by its name, and those made when positions are taken."""
    for info in pkgutil.walk_packages(homeserver.__path__, "homeserver."):
        if not info.name.endswith("__main__") and ".migrations" not in info.name:
            importlib.import_module(info.name)
    found: dict[int, tuple[str, Statement]] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("homeserver."):
            for attribute, value in vars(module).items():
                for path, statement in _within(value):
                    found.setdefault(id(statement), (f"{name[11:]}.{attribute}{path}", statement))
    named = dict(found.values())
    for kinds in ((Kind.EVENTS,), tuple(Kind)):
        named[f"positions of {len(kinds)} kinds"] = set_positions(kinds)
    return named


def _within(value: object) -> Iterator[tuple[str, Statement]]:
    """The statements in a value, with the way to each."""
    if isinstance(value, Statement):
        yield "", value
        return
    parts: list[tuple[str, object]] = []
    if isinstance(value, tuple | list):
        parts = [(f"[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, dict):
        parts = [(f"[{key!r}]", item) for key, item in value.items()]
    elif not isinstance(value, type):
        parts = [(f".{name}", getattr(value, name, None)) for name in _fields(type(value))]
    for step, part in parts:
        for path, statement in _within(part):
            yield step + path, statement


def _fields(kind: type) -> Iterator[str]:
    if attrs.has(kind):
        yield from (field.name for field in attrs.fields(kind))
    elif issubclass(kind, msgspec.Struct):
        yield from kind.__struct_fields__
