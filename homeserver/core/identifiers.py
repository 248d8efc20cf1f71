"""Matrix identifiers: types that only their parsers make.

A value of type `UserID`, `RoomID`, ... has been through its parser here, or was made by this server. Lengths
are counted in bytes of UTF-8. Spec: appendices, "Identifier Grammar".
"""

import ipaddress
import re
from typing import NewType

from homeserver.core.errors import InvalidParam, InvalidUsername

UserID = NewType("UserID", str)
RoomID = NewType("RoomID", str)
EventID = NewType("EventID", str)
RoomAlias = NewType("RoomAlias", str)
DeviceID = NewType("DeviceID", str)
ServerName = NewType("ServerName", str)

MAX_IDENTIFIER_BYTES = 255

# hostname [":" port], hostname being a DNS name (which covers dotted quads) or a bracketed IPv6 literal.
_SERVER_NAME = re.compile(r"(?:[0-9A-Za-z.-]{1,255}|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?")

# What nearly every user ID looks like; anything else takes the thorough path.
_COMMON_USER_ID = re.compile(r"@[\x21-\x39\x3b-\x7e]*:[0-9A-Za-z.-]{1,255}(?::[0-9]{1,5})?")

_NEW_LOCALPART = re.compile(r"[a-z0-9._=/+-]+")


def parse_server_name(text: str) -> ServerName:
    """A server name with an optional port; letter case is kept, since it is significant.

    Errors: InvalidParam. Spec: appendices, "Server Name".
    """
    match = _SERVER_NAME.fullmatch(text)
    if match is None:
        raise InvalidParam("not a server name")
    literal: str | None = match["ipv6"]
    if literal is not None:
        try:
            ipaddress.IPv6Address(literal)
        except ValueError:
            raise InvalidParam("the server name has a malformed IPv6 address") from None
    return ServerName(text)


def parse_user_id(text: str) -> UserID:
    """A user ID in its current or historical form.

    The localpart may be empty or hold any character but `:` and NUL.
    Errors: InvalidParam. Spec: appendices, "User Identifiers" and "Historical User IDs".
    """
    if len(text) <= MAX_IDENTIFIER_BYTES and _COMMON_USER_ID.fullmatch(text):
        return UserID(text)
    _check_sigil_and_characters(text, "@", "user ID")
    _localpart, colon, server_name = text.partition(":")
    if not colon:
        raise InvalidParam("a user ID has the form @localpart:domain")
    parse_server_name(server_name)
    return UserID(text)


def parse_room_id(text: str) -> RoomID:
    """A room ID, either `!localpart:domain` (room versions 1 to 11) or `!hash` (12 and later).

    Errors: InvalidParam. Spec: appendices, "Room IDs".
    """
    _check_sigil_and_characters(text, "!", "room ID")
    _check_optional_domain(text, "room ID")
    return RoomID(text)


def parse_event_id(text: str) -> EventID:
    """An event ID, either `$opaque:domain` (room versions 1 and 2) or `$hash` (3 and later).

    Errors: InvalidParam. Spec: appendices, "Event IDs".
    """
    _check_sigil_and_characters(text, "$", "event ID")
    _check_optional_domain(text, "event ID")
    return EventID(text)


def parse_room_alias(text: str) -> RoomAlias:
    """A room alias, `#localpart:domain`.

    Errors: InvalidParam. Spec: appendices, "Room Aliases".
    """
    _check_sigil_and_characters(text, "#", "room alias")
    localpart, colon, server_name = text.partition(":")
    if not colon or len(localpart) == 1:
        raise InvalidParam("a room alias has the form #localpart:domain")
    parse_server_name(server_name)
    return RoomAlias(text)


def localpart_of(identifier: UserID | RoomAlias) -> str:
    """What stands between the sigil and the first colon."""
    return identifier[1:].partition(":")[0]


def server_of(identifier: UserID | RoomID | EventID | RoomAlias) -> ServerName | None:
    """The server name in an identifier, port included; None in hash-based room and event IDs."""
    return ServerName(identifier.partition(":")[2]) or None


def check_new_localpart(localpart: str, *, server_name: ServerName | None = None) -> None:
    """Check the localpart of a user who is to be created: stricter than what is accepted from others.

    With `server_name` the length of the whole user ID is checked too.
    Errors: InvalidUsername. Spec: appendices, "User Identifiers".
    """
    if not _NEW_LOCALPART.fullmatch(localpart):
        raise InvalidUsername("a user name is made of the characters a-z, 0-9, and . _ = - / +")
    if len(localpart) + 2 + len(server_name or "x") > MAX_IDENTIFIER_BYTES:
        raise InvalidUsername("the user ID is longer than 255 bytes")


def _check_sigil_and_characters(text: str, sigil: str, kind: str) -> None:
    """Check what all identifiers share: sigil, something behind it, no NUL or surrogate, length."""
    if not text.startswith(sigil) or len(text) == 1:
        raise InvalidParam(f"a {kind} starts with {sigil}")
    if "\0" in text:
        raise InvalidParam(f"a {kind} has no NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidParam(f"a {kind} has no lone surrogates") from None
    if size > MAX_IDENTIFIER_BYTES:
        raise InvalidParam(f"a {kind} has at most 255 bytes")


def _check_optional_domain(text: str, kind: str) -> None:
    """If there is a colon, a server name follows it."""
    head, colon, server_name = text.partition(":")
    if not colon:
        return
    if len(head) == 1:
        raise InvalidParam(f"the {kind} has nothing before its colon")
    parse_server_name(server_name)
