"""What other servers tell of a room with an invitation or after a knock: checked, and pruned for clients.

Since version 1.16 of the specification these are whole PDUs; older servers send stripped state. Spec: server-server
API, "Inviting to a room" and `knocks.yaml`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import structlog

from homeserver.core.client_event import prune_stripped_state
from homeserver.core.errors import InvalidParam, MissingParam
from homeserver.core.event import Event
from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.room_versions import RoomVersion
from homeserver.core.splice import array
from homeserver.rooms.pdu_checks import CheckedPdu, PduChecks, RefusedPdu

_log = structlog.get_logger(__name__)

MOST_EVENTS: Final = 50
MOST_BYTES: Final = 256 * 1024
"""Of the stripped state that is kept for one invitation."""

_CREATE: Final = ("m.room.create", "")


class InviteStates(msgspec.Struct, frozen=True):
    """Checks what a user is to be told of a room that this server is not in."""

    checks: PduChecks

    async def of_invite(self, told: JsonValue, room_id: RoomID, version: RoomVersion) -> bytes:
        """The stripped state for the invited user, a JSON array.

        What does not pass is an error only in room versions that came with these rules, else a warning.
        Errors: MissingParam without a create event; InvalidParam for what is no PDU of the room, or too much.
        """
        # The first room version of the time in which these rules were made is the one with such room IDs.
        is_strict = version.room_id_is_create_hash
        listed = _objects(told)
        try:
            _check_form(told)
            events = [_passed(each, room_id) for each in await self.checks.check(listed, version)]
            _check_create(events, version)
        except (MissingParam, InvalidParam) as error:
            if is_strict:
                raise
            _log.warning("an invitation without proper state of its room", room=room_id, reason=str(error))
            return _stripped(listed)
        return _stripped(event.pdu for event in events)

    async def of_knock(self, told: JsonValue, room_id: RoomID, version: RoomVersion) -> bytes:
        """The stripped state for the user who knocked, a JSON array.

        Spec: "Entries which are improperly signed or formatted SHOULD be removed"; where old servers send
        stripped state, nothing would be left, and it is taken as it is.
        """
        listed = _objects(told)[:MOST_EVENTS]
        if version.room_id_is_create_hash or any("signatures" in each for each in listed):
            found = await self.checks.check(listed, version)
            passed = (each.event for each in found if isinstance(each, CheckedPdu))
            return _stripped(event.pdu for event in passed if event.room_id == room_id and event.is_state)
        return _stripped(listed)


def _check_form(told: JsonValue) -> None:
    """Errors: MissingParam, InvalidParam."""
    if told is None:
        raise MissingParam("invite_room_state is missing")
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise InvalidParam("invite_room_state must be an array of events")


def _objects(told: JsonValue) -> list[JsonObject]:
    """Errors: InvalidParam for more than anybody needs."""
    listed = told if isinstance(told, list) else []
    if len(listed) > MOST_EVENTS:
        raise InvalidParam(f"The state of the room has more than {MOST_EVENTS} events")
    return [each for each in listed if isinstance(each, dict)]


def _passed(checked: CheckedPdu | RefusedPdu, room_id: RoomID) -> Event:
    if isinstance(checked, RefusedPdu):
        raise InvalidParam(f"invite_room_state has an event that is not acceptable: {checked.error.message}")
    if checked.event.room_id != room_id:
        raise InvalidParam("invite_room_state has an event of another room")
    if not checked.event.is_state:
        raise InvalidParam("invite_room_state has an event that is no state event")
    return checked.event


def _check_create(events: Iterable[Event], version: RoomVersion) -> None:
    create = next((event for event in events if event.key == _CREATE), None)
    if create is None:
        raise MissingParam("invite_room_state has no m.room.create event")
    if create.content.get("room_version", "1") != version.identifier:
        raise InvalidParam("The room is not of the version that the invitation says")


def _stripped(pdus: Iterable[JsonObject]) -> bytes:
    """Errors: InvalidParam if it is too much."""
    pruned = list(_pruned(pdus))
    if sum(map(len, pruned)) > MOST_BYTES:
        raise InvalidParam(f"The state of the room is larger than {MOST_BYTES} bytes")
    return array(pruned)


def _pruned(pdus: Iterable[JsonObject]) -> Iterator[bytes]:
    """The stripped form of those that have one, each entry of the state once."""
    seen = set()
    for pdu in pdus:
        stripped = prune_stripped_state(pdu)
        key = (pdu.get("type"), pdu.get("state_key"))
        if stripped is not None and key not in seen:
            seen.add(key)
            yield stripped
