"""Membership events that are made outside a write transaction: for, or with the help of, another server."""

from collections.abc import Mapping, Sequence

import msgspec

from homeserver.core.auth_events import CREATE, POWER_LEVELS, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.errors import Forbidden
from homeserver.core.event import Event, StateKey
from homeserver.core.event_format import MAX_PREV_EVENTS, build_event, max_depth
from homeserver.core.hashes import encode_base64, reference_hash
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue, decode_object
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms import policies
from homeserver.rooms.current_state import CurrentState
from homeserver.rooms.draft import Signer
from homeserver.rooms.partial_states import check_known
from homeserver.storage import events

MEMBER = "m.room.member"


class Place(msgspec.Struct, frozen=True):
    """Where in its room's graph a new event stands.

    `hashes` are the reference hashes of the events that it names, for the room versions that give them.
    """

    room_id: RoomID
    version: RoomVersion
    prev_events: Sequence[EventID]
    auth_events: Sequence[EventID]
    depth: int
    hashes: Mapping[EventID, str] | None = None


class Wanted(msgspec.Struct, frozen=True):
    """A membership event to be: `sender` does this to `user_id`."""

    sender: UserID
    user_id: UserID
    content: JsonObject


def place_for(state: CurrentState, wanted: Wanted) -> Place:
    """Where the event would stand now. Errors: Forbidden if the auth rules refuse it; StateWanted."""
    version = state.version
    keys = select_auth_event_keys(MEMBER, wanted.sender, wanted.user_id, wanted.content, version)
    found = state.state_events({CREATE, POWER_LEVELS, *keys})
    check_known(state.room, keys, found)
    extremities = state.room.extremities[-MAX_PREV_EVENTS:]
    prev_events = [event_id for event_id, _ in extremities]
    auth_events = [found[key].event_id for key in keys if key in found]
    depth = 1 + max((depth for _, depth in extremities), default=0)
    hashes = None
    if version.event_references_with_hashes:
        hashes = _reference_hashes(state.tx, {*prev_events, *auth_events}, version)
    place = Place(
        state.room.room_id, version, prev_events, auth_events, min(depth, max_depth(version)), hashes
    )
    _check(place, wanted, found)
    return place


def template(place: Place, wanted: Wanted, *, now_ts: int) -> JsonObject:
    """The event without hashes and signatures, for another server to complete."""
    return {
        "type": MEMBER,
        "room_id": place.room_id,
        "sender": wanted.sender,
        "state_key": wanted.user_id,
        "content": wanted.content,
        "origin_server_ts": now_ts,
        "depth": place.depth,
        "prev_events": _references(place.prev_events, place),
        "auth_events": _references(place.auth_events, place),
    }


def build(place: Place, wanted: Wanted, signer: Signer, *, now_ts: int, token: str) -> tuple[Event, bytes]:
    """The event, hashed and signed, with its canonical JSON; `token` makes the ID unique where it is no hash.

    Errors: BadJson, TooLarge for the content.
    """
    event_id = None
    if place.version.event_id_format is EventIdFormat.SERVER_ISSUED:
        event_id = EventID(f"${now_ts}-{token}:{signer.server_name}")
    return build_event(
        room_version=place.version,
        room_id=place.room_id,
        sender=wanted.sender,
        type=MEMBER,
        state_key=wanted.user_id,
        content=wanted.content,
        origin_server_ts=now_ts,
        depth=place.depth,
        prev_events=place.prev_events,
        auth_events=place.auth_events,
        redacts=None,
        server_name=signer.server_name,
        key=signer.key,
        event_id=event_id,
        reference_hashes=place.hashes,
        with_origin=True,
    )


def build_here(
    state: CurrentState, wanted: Wanted, signer: Signer, *, now_ts: int, token: str
) -> tuple[Event, bytes]:
    """The event as it stands now in a room that this server is in; see `build`.

    Errors: Forbidden if the auth rules refuse it; SignatureWanted if the room's policy server must be asked first.
    """
    event, data = build(place_for(state, wanted), wanted, signer, now_ts=now_ts, token=token)
    policy_server = policies.in_state(state.tx, state.room.room_nid, state.room.state_root, state.version)
    if policy_server is None:
        return event, data
    return policies.with_signature(state.tx, policy_server, event, data)


def given_hashes(references: JsonValue) -> dict[EventID, str]:
    """The reference hashes in `prev_events` or `auth_events` of old room versions; pairs without one are left out."""
    found: dict[EventID, str] = {}
    for reference in references if isinstance(references, list) else ():
        match reference:
            case [str(event_id), {"sha256": str(digest)}]:
                found[EventID(event_id)] = digest
    return found


def _check(place: Place, wanted: Wanted, state: Mapping[StateKey, Event]) -> None:
    event = Event.from_pdu(template(place, wanted, now_ts=0), place.version, event_id=EventID("$template"))
    try:
        check_state(event, state)
    except NotAllowed as error:
        raise Forbidden(str(error)) from error


def _references(event_ids: Sequence[EventID], place: Place) -> list[JsonValue]:
    if place.hashes is None:
        return list(event_ids)
    return [[event_id, {"sha256": place.hashes[event_id]}] for event_id in event_ids]


def _reference_hashes(
    tx: ReadTransaction, event_ids: set[EventID], version: RoomVersion
) -> dict[EventID, str]:
    """The hashes by which old room versions refer to events."""
    stored = events.of_ids(tx, event_ids)
    return {
        event_id: encode_base64(reference_hash(decode_object(event.pdu), version))
        for event_id, event in stored.items()
    }
