"""Events in the forms that clients see. Spec: client-server API, "Room event format" and "Stripped state".

An event is stored as the JSON that was signed. What clients see of it is cut out once, and not decoded:
serving it, to however many clients, is joining bytes.
"""

from typing import Final, Self, TypeAlias

import msgspec

from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject, decode_object, encode

Members: TypeAlias = bytes
"""Members of a JSON object without its braces, as `"a":1,"b":2`; empty if there are none."""


_ABSENT: Final = msgspec.Raw()


class _Pdu(msgspec.Struct, gc=False):
    """What clients see of a PDU, as it stands there."""

    type: msgspec.Raw
    sender: msgspec.Raw
    content: msgspec.Raw
    origin_server_ts: int
    state_key: msgspec.Raw = _ABSENT
    msc4354_sticky: msgspec.Raw = _ABSENT


class _Stripped(msgspec.Struct, gc=False):
    """What stripped state has of a PDU, as it stands there."""

    content: msgspec.Raw
    sender: msgspec.Raw
    state_key: msgspec.Raw
    type: msgspec.Raw


_PDU_DECODER: Final = msgspec.json.Decoder(_Pdu)
_STRIPPED_DECODER: Final = msgspec.json.Decoder(_Stripped)
_STRIPPED_ENCODER: Final = msgspec.json.Encoder()

_REDACTION: Final = b'"m.room.redaction"'


class ClientEventBytes(msgspec.Struct, frozen=True):
    """An event as clients see it, but for what depends on who asks for it, where and when.

    `origin_server_ts` is what the age counts from.
    """

    room_id: RoomID
    origin_server_ts: int
    _members: Members

    @classmethod
    def of(cls, pdu: bytes, *, event_id: EventID, room_id: RoomID, redacts_in_content: bool) -> Self:
        """Cut what clients see out of a stored PDU.

        `redacts_in_content` is what the room version says; clients get the `redacts` of a redaction both in
        `content` and beside it, wherever the PDU has it. Spec: room version 11, "Moving the redacts
        property".
        """
        parts = _PDU_DECODER.decode(pdu)
        content: bytes | msgspec.Raw = parts.content
        redacts: Members = b""
        if bytes(parts.type) == _REDACTION:
            content, redacts = _redaction(pdu, redacts_in_content=redacts_in_content)
        members = (
            b'"content":',
            content,
            b',"event_id":',
            encode(event_id),
            b"" if parts.msc4354_sticky is _ABSENT else b',"msc4354_sticky":' + bytes(parts.msc4354_sticky),
            b',"origin_server_ts":%d,' % parts.origin_server_ts,
            redacts,
            b'"sender":',
            parts.sender,
            b"" if parts.state_key is _ABSENT else b',"state_key":' + bytes(parts.state_key),
            b',"type":',
            parts.type,
        )
        return cls(room_id, parts.origin_server_ts, b"".join(members))

    def render(
        self,
        *,
        now_ts: int,
        with_room_id: bool,
        transaction_id: str | None = None,
        membership: str | None = None,
        prev_content: bytes | None = None,
        replaces_state: EventID | None = None,
        redacted_because: bytes | None = None,
        extra: Members = b"",
    ) -> bytes:
        """The event as JSON; all but the first two arguments are for its `unsigned`, None: without.

        `with_room_id=False` is for where the room is said elsewhere, as in `/sync`. `transaction_id` is for
        the device that sent the event, `membership` that of the user who asks, `prev_content` and
        `redacted_because` are JSON objects, `extra` has further members, such as `"m.relations":{...}`.
        """
        unsigned = b',"unsigned":{"age":%d' % (now_ts - self.origin_server_ts)
        if membership is not None:
            unsigned += b',"membership":' + encode(membership)
        if transaction_id is not None:
            unsigned += b',"transaction_id":' + encode(transaction_id)
        if prev_content is not None:
            unsigned += b',"prev_content":' + prev_content
        if replaces_state is not None:
            unsigned += b',"replaces_state":' + encode(replaces_state)
        if redacted_because is not None:
            unsigned += b',"redacted_because":' + redacted_because
        if extra:
            unsigned += b"," + extra
        room_id = b',"room_id":' + encode(self.room_id) if with_room_id else b""
        return b"{%b%b%b}}" % (self._members, room_id, unsigned)


def delay_id_member(delay_id: str) -> Members:
    """What tells the sender of an event that it is the one that was scheduled under this ID.

    Spec: MSC4140, "`delay_id` in `unsigned` event data" and "Unstable prefix".
    """
    encoded = encode(delay_id)
    return b'"delay_id":%b,"org.matrix.msc4140.delay_id":%b' % (encoded, encoded)


def _redaction(pdu: bytes, *, redacts_in_content: bool) -> tuple[bytes, Members]:
    """The content of a redaction, and a member for beside it, both with what it redacts, if it says that."""
    fields = decode_object(pdu)
    content = fields["content"]
    if not isinstance(content, dict):  # The format of events has been checked.
        raise TypeError("the content of an event is no object")
    redacts = (content if redacts_in_content else fields).get("redacts")
    if not isinstance(redacts, str):
        return encode(content), b""
    return encode(content | {"redacts": redacts}), b'"redacts":%b,' % encode(redacts)


def federation_event(pdu: bytes, unsigned: Members = b"") -> bytes:
    """A stored PDU for a client that wants the federation format, with members for its `unsigned`."""
    return b'%b,"unsigned":{%b}}' % (pdu[:-1], unsigned) if unsigned else pdu


def stripped_state(pdu: bytes) -> bytes:
    """A stored state event in its stripped form.

    Errors: ValueError if it is no state event.
    """
    parts = _STRIPPED_DECODER.decode(pdu)
    return _STRIPPED_ENCODER.encode(parts)


def prune_stripped_state(event: JsonObject) -> bytes | None:
    """The stripped form of what another server gave as state of a room: a whole PDU, or stripped already.

    None if it is neither. It is not to be passed on as it came.
    """
    stripped = {key: event.get(key) for key in ("content", "sender", "state_key", "type")}
    if not isinstance(stripped["content"], dict):
        return None
    if not all(isinstance(stripped[key], str) for key in ("sender", "state_key", "type")):
        return None
    return encode(stripped)
