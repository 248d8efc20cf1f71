"""Reading YAML, and turning it into Structs with errors that an operator understands."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from homeserver.config.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

SECRETS = re.compile(r"secret|password|(^|_)token$")
"""Keys whose values are not shown: terminals, logs and bug reports are read by many."""

PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/@]*:).*(?=@)|(password=)[^&]*")

ERROR_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class _Loader(yaml.SafeLoader):
    """Plain YAML, in which a key given twice is an error."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise yaml.MarkedYAMLError(problem="a key must be a plain word", problem_mark=key_node.start_mark)
        if key in keys:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark
            )
        keys.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(path: Path, key: str) -> dict[str, object]:
    """The mapping in the YAML file at `path`; a key without a value counts as not given.

    `key` names the file in errors: a command line option, or the configuration key that holds `path`.
    Errors: ConfigError.
    """
    try:
        document = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a subclass of SafeLoader
    except OSError as error:
        raise ConfigError(
            key, path, f"cannot be read ({error.strerror}): correct the path or its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(key, path, "is not UTF-8 text: save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = " ".join((error.problem or "is not YAML").split())
        raise ConfigError(key, path, f"{place}{problem}; correct the YAML there") from error
    except yaml.YAMLError as error:
        raise ConfigError(key, path, f"is not YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(key, path, "must hold `key: value` lines")
    return {key: _without_absent(item) for key, item in document.items() if item is not None}


def convert(document: dict[str, object], into: type[T], folder: Path, *, knows_all_keys: bool = True) -> T:
    """`document` as a Struct; relative paths are taken from `folder`.

    Errors: ConfigError, for a missing key, a value of the wrong kind, or an unknown key unless others are to be
    expected (`knows_all_keys` is False).
    """
    structure = inspect.type_info(into)
    _check_keys(document, structure, "", structure if knows_all_keys else None)

    def path_of(wanted: type, value: object) -> object:
        if wanted is not Path or not isinstance(value, str) or not value:
            raise ValueError("not a path")
        return folder / value

    try:
        return msgspec.convert(document, into, dec_hook=path_of)
    except msgspec.ValidationError as error:
        match = ERROR_PATH.search(str(error))
        if match is None:
            raise
        path = match["path"]
        value, wanted = _look_up(document, structure, path)
        remedy = f"must be {_describe(wanted)}"
        if isinstance(wanted, inspect.StrType) and isinstance(value, bool | int | float):
            remedy += ": put it in quotes"
        elif isinstance(wanted, inspect.IntType | inspect.FloatType | inspect.BoolType) and isinstance(
            value, str
        ):
            remedy += ": without quotes"
        raise ConfigError(path, shown_value(path, value), remedy) from error


def shown_value(path: str, value: object) -> object:
    """`value` of the key `path`, unless that is secret."""
    if SECRETS.search(path.rpartition(".")[2]):
        return "(not shown)"
    return PASSWORD_IN_URL.sub(r"\1\2***", value) if isinstance(value, str) and "://" in value else value


def _without_absent(value: Any) -> Any:
    """The document without keys that have no value, as in a section whose every line is a comment."""
    if isinstance(value, dict):
        return {key: _without_absent(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_absent(item) for item in value]
    return value


def _check_keys(value: object, wanted: inspect.Type, path: str, whole: inspect.Type | None) -> None:
    """Name keys that are missing; unless `whole` is None, refuse unknown ones with what was probably meant of it."""
    wanted = _present(wanted)
    if isinstance(wanted, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
        for index, item in enumerate(value):
            _check_keys(item, wanted.item_type, f"{path}[{index}]", whole)
    if not isinstance(wanted, inspect.StructType) or not isinstance(value, dict):
        return
    fields = {field.encode_name: field for field in wanted.fields}
    for key, item in value.items():
        place = _join(path, str(key))
        if key not in fields:
            if whole is None:
                continue
            # Its value is not shown: it may be a secret under a misspelt name.
            raise ConfigError(place, None, _suggestion(str(key), path, fields, whole))
        _check_keys(item, fields[key].type, place, whole)
    for name, field in fields.items():
        if field.required and name not in value:
            kind = _describe(_present(field.type))
            raise ConfigError(_join(path, name), None, f"is missing: add it, it must be {kind}")


def _suggestion(key: str, path: str, fields: dict[str, inspect.Field], whole: inspect.Type) -> str:
    """What was probably meant by an unknown key: a similar one here, or the same one elsewhere."""
    similar = difflib.get_close_matches(key.lower(), fields, n=1)
    if similar:
        return f"unknown key: did you mean {_join(path, similar[0])}?"
    elsewhere = [place for place in places(whole) if place.rpartition(".")[2] == key]
    if elsewhere:
        return f"unknown key here: did you mean {elsewhere[0]}?"
    return f"unknown key: remove it, or use one of {', '.join(fields)}"


def places(wanted: inspect.Type, path: str = "") -> Iterator[str]:
    """The paths of all keys below `wanted`, which is at `path`."""
    wanted = _present(wanted)
    if isinstance(wanted, inspect.VarTupleType | inspect.ListType):
        yield from places(wanted.item_type, f"{path}[…]")
    elif isinstance(wanted, inspect.StructType):
        for field in wanted.fields:
            yield _join(path, field.encode_name)
            yield from places(field.type, _join(path, field.encode_name))


def _look_up(value: object, wanted: inspect.Type, path: str) -> tuple[object, inspect.Type]:
    """The value at `path` (`listeners[0].port`), and what was wanted there."""
    for step in re.findall(r"[^.\[\]]+", path):
        wanted = _present(wanted)
        if isinstance(value, list) and isinstance(wanted, inspect.VarTupleType | inspect.ListType):
            value, wanted = value[int(step)], wanted.item_type
        elif isinstance(value, dict) and isinstance(wanted, inspect.StructType):
            fields = {field.encode_name: field.type for field in wanted.fields}
            value, wanted = value[step], fields[step]
    return value, _present(wanted)


def _present(wanted: inspect.Type) -> inspect.Type:
    """What `wanted` is when it is there: without `None`, and without remarks."""
    while isinstance(wanted, inspect.Metadata):
        wanted = wanted.type
    if isinstance(wanted, inspect.UnionType):
        return _present(next(each for each in wanted.types if not isinstance(each, inspect.NoneType)))
    return wanted


def _describe(wanted: inspect.Type) -> str:  # noqa: PLR0911 - a table: one line for each kind
    """What the operator should write, in words."""
    match wanted:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high):
            return "a whole number" + _bounds(low, high)
        case inspect.FloatType(gt=low):
            return "a number" + ("" if low is None else f" above {low:g}")
        case inspect.StrType(min_length=length):
            return "text" if not length else "text that is not empty"
        case inspect.EnumType(cls=enum):
            return "one of " + ", ".join(str(member.value) for member in enum)
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(map(str, sorted(values, key=str)))
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return f"a list, each item {_describe(_present(item))}"
        case inspect.StructType(fields=fields):
            return f"`key: value` lines ({', '.join(field.encode_name for field in fields)})"
        case _:
            return "a path"


def _bounds(low: int | None, high: int | None) -> str:
    if low is None:
        return "" if high is None else f" up to {high}"
    return f" from {low}" if high is None else f" from {low} to {high}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
