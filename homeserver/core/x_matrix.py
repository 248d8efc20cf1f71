"""The header with which servers sign their requests: `Authorization: X-Matrix ...`.

Spec: server-server API, "Request Authentication"; RFC 9110, sections 5.6 and 11.4.
"""

import re
from typing import Final

import msgspec

from homeserver.core.errors import Unauthorized
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, canonical
from homeserver.core.signing import SigningKey

SCHEME: Final = "X-Matrix"

MAX_HEADER_LENGTH: Final = 4_096
"""Two server names, a key's name and a signature are far shorter."""

_TCHARS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

# "one or more spaces" follow the scheme, whose case does not matter.
_SCHEME = re.compile(r"x-matrix +", re.IGNORECASE)

# One parameter: a token, or a token with colons as older servers write it, or a quoted string.
_PARAMETER = re.compile(
    rf"(?P<name>{_TCHARS})[ \t]*=[ \t]*"
    r"(?:(?P<bare>[!#$%&'*+.^_`|~0-9A-Za-z:-]+)"
    r'|"(?P<quoted>(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*)")'
)

# A list may have empty elements, which are ignored: RFC 9110, section 5.6.1.
_SEPARATOR = re.compile(r"[ \t]*,[ \t,]*")

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

# What may stand between quotes without a backslash.
_PLAIN = re.compile(r"[^\"\\\x00-\x1f\x7f]*")


class XMatrix(msgspec.Struct, frozen=True):
    """What one such header says; nothing of it has been checked.

    `destination` is None where an older server has left it out. `key` is a key's identifier, such as
    `ed25519:a_abcd`; `signature` is in Base64.
    """

    origin: str
    destination: str | None
    key: str
    signature: str

    def header(self) -> str:
        """The value of the header, in the form that all servers understand.

        Errors: ValueError if a part cannot be written without a backslash.
        """
        parts = {
            "origin": self.origin,
            "destination": self.destination,
            "key": self.key,
            "sig": self.signature,
        }
        for value in parts.values():
            if value is not None and not _PLAIN.fullmatch(value):
                raise ValueError("a part of the header has a character that would have to be escaped")
        return f"{SCHEME} " + ",".join(
            f'{name}="{value}"' for name, value in parts.items() if value is not None
        )


def is_x_matrix(header: str) -> bool:
    """Whether a value of `Authorization` is of this scheme, however malformed the rest is."""
    return header.partition(" ")[0].lower() == "x-matrix"


def parse(header: str) -> XMatrix:
    """Read one value of `Authorization`, its bytes taken for Latin-1.

    Errors: Unauthorized if it is of another scheme or malformed, or if a parameter is missing or given twice.
    """
    if len(header) > MAX_HEADER_LENGTH:
        raise Unauthorized("the Authorization header is too long")
    start = _SCHEME.match(header)
    if start is None:
        raise Unauthorized("the Authorization header is not of the scheme X-Matrix")
    values = _parameters(header.rstrip(" \t"), start.end())
    # The specification calls it `signature` once, and `sig` wherever it is written.
    signature = values.get("sig") or values.get("signature")
    origin, key = values.get("origin"), values.get("key")
    if not origin or not key or not signature:
        raise Unauthorized("the Authorization header lacks origin, key or sig")
    return XMatrix(origin, values.get("destination"), key, signature)


def _parameters(header: str, at: int) -> dict[str, str]:
    """The parameters from `at` on, names in lower case."""
    values: dict[str, str] = {}
    while True:
        match = _PARAMETER.match(header, at)
        if match is None:
            raise Unauthorized("the Authorization header is malformed")
        name = match["name"].lower()
        if name in values:
            raise Unauthorized(f"the Authorization header has {name[:40]} twice")
        quoted: str | None = match["quoted"]
        values[name] = match["bare"] if quoted is None else _ESCAPE.sub(r"\1", quoted)
        at = match.end()
        if at == len(header):
            return values
        separator = _SEPARATOR.match(header, at)
        if separator is None:
            raise Unauthorized("the Authorization header is malformed")
        at = separator.end()
        if at == len(header):
            return values


def signed_request(
    method: str, uri: str, origin: str, destination: str | None, content: JsonObject | None
) -> JsonObject:
    """The object whose signature authenticates a request.

    `uri` is path and query as sent. A request without a body has no content: None.
    Spec: server-server API, "Request Authentication".
    """
    request: JsonObject = {"method": method, "uri": uri, "origin": origin}
    if destination is not None:
        request["destination"] = destination
    if content is not None:
        request["content"] = content
    return request


def sign_request(
    method: str,
    uri: str,
    origin: ServerName,
    destination: ServerName,
    content: bytes | None,
    key: SigningKey,
) -> XMatrix:
    """Sign a request to `destination`, as `signed_request` says; `content` is canonical JSON.

    It is not decoded: what goes to many servers is written as JSON once.
    """
    # What is signed is canonical JSON, too: its keys are sorted, and "content" is the first of them.
    rest = canonical(signed_request(method, uri, origin, destination, None))
    signed = rest if content is None else b'{"content":' + content + b"," + rest[1:]
    return XMatrix(origin, destination, key.key_id, key.sign(signed))
