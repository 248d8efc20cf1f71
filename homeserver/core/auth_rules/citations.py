"""Rules for what an event cites as `auth_events`.

Spec: room versions, "Authorisation rules": rule 2 of versions 1 to 11, rules 2 and 3 of version 12; in
versions 8 and later also the rule that a join on another server's word is signed by that server.
"""

from collections.abc import Collection

from homeserver.core.auth_events import CREATE, select_auth_event_keys
from homeserver.core.auth_rules.not_allowed import NotAllowed
from homeserver.core.errors import BadJson
from homeserver.core.event import Event, StateKey, room_id_of_create
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import authorising_server


def check_citations(event: Event, auth_events: Collection[Event], create: Event | None) -> None:
    """Whether an event other than a create event cites what it should.

    Errors: NotAllowed.
    """
    implied = event.room_version.room_id_is_create_hash
    # Where the room ID implies the create event, it is that of an accepted one.
    if implied and not (create is not None and _is_named_by_room_id(create, event)):
        raise NotAllowed("The room ID is that of an accepted create event")
    cited = _cited_entries(event, auth_events)
    # No entry has been rejected itself.
    if any(auth_event.rejected for auth_event in auth_events):
        raise NotAllowed("auth_events has no event that was rejected itself")
    if not implied:
        # Elsewhere a create event is among the entries.
        if CREATE not in cited:
            raise NotAllowed("auth_events has the create event")
        # Ours: an event that rests on another create event of the same room ID is of another room.
        if create is not None and cited[CREATE] != create:
            raise NotAllowed("The create event in auth_events is that of the room")
    # All entries are of the event's room.
    if any(auth_event.room_id != event.room_id for auth_event in auth_events):
        raise NotAllowed("auth_events has only events of the same room")


def _is_named_by_room_id(create: Event, event: Event) -> bool:
    return (
        create.type == CREATE[0]
        and not create.rejected
        and room_id_of_create(create.event_id) == event.room_id
    )


def _cited_entries(event: Event, auth_events: Collection[Event]) -> dict[StateKey, Event]:
    """The cited events by the entry of the state that they set, which each must do alone and be asked to."""
    selected = select_auth_event_keys(
        event.type, event.sender, event.state_key, event.content, event.room_version
    )
    cited: dict[StateKey, Event] = {}
    # No two entries are for the same type and state key.
    if len(set(event.auth_events)) != len(event.auth_events):
        raise NotAllowed("auth_events has no two events for the same entry of the state")
    for auth_event in auth_events:
        # Each entry is one that the selection of auth events asks for.
        if auth_event.state_key is None or (key := auth_event.key) not in selected:
            raise NotAllowed("auth_events has only events that the event needs")
        if key in cited:
            raise NotAllowed("auth_events has no two events for the same entry of the state")
        cited[key] = auth_event
    return cited


def check_authorising_signature(event: Event, signed_by: Collection[ServerName]) -> None:
    """Whether the server that vouches for a join, if one does, has signed the event.

    Errors: NotAllowed.
    """
    # If content has join_authorised_via_users_server, the server of that user has signed the event.
    try:
        server = authorising_server(event.pdu, event.room_version)
    except BadJson:
        raise NotAllowed("join_authorised_via_users_server is a user ID") from None
    if server is not None and server not in signed_by:
        raise NotAllowed("A membership event is signed by the server that it says authorises it")
