"""Building JSON from parts that are JSON already, so that an event's bytes are never decoded to be sent on."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

K = TypeVar("K", bound=str)

_encode = msgspec.json.Encoder().encode


def array(items: Iterable[bytes]) -> bytes:
    """A JSON array of these values."""
    return b"[%b]" % b",".join(items)


def object_of(members: Mapping[str, bytes]) -> bytes:
    """A JSON object whose keys are plain names of the specification, which need no escaping."""
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), value) for key, value in members.items())


def keyed(members: Mapping[K, bytes]) -> bytes:
    """A JSON object with any keys, such as room ids."""
    return b"{%b}" % b",".join(b"%b:%b" % (_encode(key), value) for key, value in members.items())
