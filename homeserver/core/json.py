"""JSON at the border and canonical JSON inside.

`decode` is the one way in: it refuses whatever two JSON parsers might read differently, so that what is
stored, signed and served is one value. Spec: appendices, "Canonical JSON".
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import canonicaljson
import msgspec

from homeserver.core.errors import BadJson, NotJson

if TYPE_CHECKING:
    JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
else:
    # msgspec reads annotations when a program starts, and cannot follow a type that contains itself.
    JsonValue = Any

JsonObject: TypeAlias = dict[str, JsonValue]

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer of canonical JSON; the smallest is its negative."""

MAX_NESTING: Final = 256
"""How deep arrays and objects may lie inside each other. Parsers and encoders recurse: a value that one stack
could still take and another not would be a trap, so the limit is the same for all and far below theirs."""

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
_SORTING_ENCODER = msgspec.json.Encoder(order="sorted")

_CONTAINERS = (dict, list)

# The escapes of a JSON text in order, so that an escaped backslash before "u003a" is not taken for an escaped
# colon.
_ESCAPE = re.compile(rb"\\(?:(u003[aA])|.)", re.DOTALL)


def decode(data: bytes) -> JsonValue:
    """The value of a JSON text in UTF-8.

    Refused are duplicate keys, NaN and infinities, lone surrogates, a byte order mark, numbers beyond all
    bounds, and nesting deeper than `MAX_NESTING`. Floats pass: `check_canonical` is for where they must not.

    Errors: NotJson if the text is none; BadJson if it is, but cannot be taken.
    """
    try:
        value: JsonValue = _DECODER.decode(data)
    except msgspec.ValidationError:
        raise BadJson("a number is out of range") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadJson(f"the JSON is nested more than {MAX_NESTING} deep") from None
    # Each level costs two brackets, so a short text or one with few brackets settles the question.
    if (
        len(data) > 2 * MAX_NESTING
        and data.count(b"[") + data.count(b"{") > MAX_NESTING
        and _is_too_deep(value)
    ):
        raise BadJson(f"the JSON is nested more than {MAX_NESTING} deep")
    if _lost_a_member(data, value):
        raise BadJson("an object in the JSON has the same key twice")
    return value


def decode_object(data: bytes) -> JsonObject:
    """As `decode`, for a text that must be an object.

    Errors: NotJson, BadJson.
    """
    value = decode(data)
    if not isinstance(value, dict):
        raise BadJson("the JSON must be an object")
    return value


def encode(value: JsonValue) -> bytes:
    """JSON without blanks, keys in the order of the object."""
    return _ENCODER.encode(value)


def canonical(value: JsonValue) -> bytes:
    """The canonical JSON of a value: no blanks, keys sorted by code point, UTF-8.

    What canonical JSON does not have, but events of room versions 1 to 5 might (floats, large integers), is
    written as the first implementations did, since signatures and event IDs depend on it.

    Errors: BadJson if the value holds NaN, an infinity or a lone surrogate. Spec: appendices, "Canonical
    JSON".
    """
    try:
        if _holds_float(value):
            return canonicaljson.encode_canonical_json(value)
        return _SORTING_ENCODER.encode(value)
    except ValueError:
        raise BadJson("the value cannot be written as canonical JSON") from None


def canonical_without_floats(value: JsonValue) -> bytes:
    """As `canonical`, in a third of the time, for a value that is known to hold no floats."""
    try:
        return _SORTING_ENCODER.encode(value)
    except ValueError:
        raise BadJson("the value cannot be written as canonical JSON") from None


def check_canonical(value: JsonValue) -> None:
    """Check that a value has only what canonical JSON has: integers within ±(2^53 - 1), no floats.

    Errors: BadJson with the path to an offender, such as `$.content.users.@a:b`.
    """
    if not _is_canonical(value):
        raise BadJson(_first_fault(value))


def _lost_a_member(data: bytes, value: JsonValue) -> bool:
    """Whether decoding `data` to `value` dropped a member of an object, because a later one had the same key.

    Each member has a colon. A text has as many colons as its members and its strings together, and so has the
    encoded value, unless a member (with all that it held) was dropped. An escaped colon in the text counts as
    one.
    """
    colons = data.count(b":")
    if b"\\" in data and b"\\u003" in data:
        colons += sum(1 for escape in _ESCAPE.finditer(data) if escape[1])
    return colons != _ENCODER.encode(value).count(b":")


def _is_too_deep(value: JsonValue) -> bool:
    """Whether arrays and objects are nested deeper than `MAX_NESTING`; level by level, without recursion."""
    level: list[JsonValue] = [value]
    for _ in range(MAX_NESTING):
        level = [inner for outer in level for inner in _items(outer) if type(inner) in _CONTAINERS]
        if not level:
            return False
    return True


def _items(value: JsonValue) -> Iterable[JsonValue]:
    """What lies directly inside an array or object; nothing for other values."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _holds_float(value: JsonValue) -> bool:
    """Whether there is a float anywhere in the value.

    It runs for every event, hence without recursion and by exact type.
    """
    if type(value) is float:
        return True
    containers = [value]
    for container in containers:
        for item in _items(container):
            kind = type(item)
            if kind is str:
                continue
            if kind is dict or kind is list:
                containers.append(item)
            elif kind is float:
                return True
    return False


def _is_canonical(value: JsonValue) -> bool:
    """Whether all numbers in the value are integers in range; in the manner of `_holds_float`."""
    containers: list[JsonValue] = [[value]]
    for container in containers:
        for item in _items(container):
            kind = type(item)
            if kind is str:
                continue
            if kind is dict or kind is list:
                containers.append(item)
            elif _is_faulty_number(item):
                return False
    return True


def _is_faulty_number(value: JsonValue) -> bool:
    """Whether a scalar is a number that canonical JSON does not have."""
    if isinstance(value, int):
        return not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
    return isinstance(value, float)


def _first_fault(value: JsonValue) -> str:
    """The first number that canonical JSON does not have, as path and complaint.

    Level by level, without recursion; the path is put together for the fault alone, since keys may be long.
    """
    steps: list[tuple[int, str, JsonValue]] = [(-1, "$", value)]
    for index, (_, _, item) in enumerate(steps):
        if _is_faulty_number(item):
            fault = "a float is not allowed" if isinstance(item, float) else "the integer is out of range"
            return f"{_path_to(index, steps)}: {fault}"
        if isinstance(item, dict):
            steps.extend((index, f".{key}", inner) for key, inner in item.items())
        elif isinstance(item, list):
            steps.extend((index, f"[{place}]", inner) for place, inner in enumerate(item))
    return "$: not canonical JSON"


def _path_to(index: int, steps: list[tuple[int, str, JsonValue]]) -> str:
    """The path of the value at `index`; each step names the one that it starts from, -1 for none."""
    path = []
    while index >= 0:
        index, step, _ = steps[index]
        path.append(step)
    return "".join(reversed(path))
