"""The authorisation rules, which say whether an event may be in its room.

Each module has the rules of one group in the order of the specification; where room versions differ, a field
of `RoomVersion` says so. Two questions are asked separately:

- `check_auth_events`: is what the event cites sound? Asked once per event received; no state matters.
- `check_state`: do the rules allow the event in a given state? Asked of the state that the event cites
  (`auth_state`), of the state before the event, and of the room's current state.

Spec: server-server API, "Checks performed on receipt of a PDU"; room versions, "Authorisation rules".
"""

from collections.abc import Collection

from homeserver.core.auth_events import CREATE, POWER_LEVELS
from homeserver.core.auth_rules.citations import check_authorising_signature, check_citations
from homeserver.core.auth_rules.create import check_create
from homeserver.core.auth_rules.membership import check_membership, membership_in
from homeserver.core.auth_rules.not_allowed import NotAllowed
from homeserver.core.auth_rules.power_level_changes import check_power_levels
from homeserver.core.auth_rules.third_party_invites import InviteKey, signing_key
from homeserver.core.event import Event, StateKey, StateMap
from homeserver.core.identifiers import ServerName, server_of
from homeserver.core.power_levels import PowerLevels

__all__ = ["InviteKey", "NotAllowed", "auth_state", "check_auth_events", "check_state", "signing_key"]


def check_auth_events(
    event: Event,
    auth_events: Collection[Event],
    create: Event | None,
    *,
    signed_by: Collection[ServerName] = (),
) -> None:
    """Check what the event cites, and, for a create event, the event itself.

    `auth_events` are all the events that `event.auth_events` names, rejected ones included. `create` is the
    room's create event as this server knows it, None if it knows none yet; an event that rests on another is
    refused. `signed_by` are the servers whose signatures on the event have been verified: a join that another
    server authorises is refused unless that server is among them.

    Errors: NotAllowed; ValueError if `auth_events` are not the events that the event names.
    """
    if {auth_event.event_id for auth_event in auth_events} != set(event.auth_events):
        raise ValueError(f"these are not the events that {event.event_id} names in auth_events")
    if event.type == CREATE[0]:
        check_create(event)
        # Ours: a room has one create event, even if the server that its ID names sends a second.
        if create is not None and create != event:
            raise NotAllowed("A room has only one create event")
        return
    check_citations(event, auth_events, create)
    check_authorising_signature(event, signed_by)


def auth_state(auth_events: Collection[Event], create: Event) -> dict[StateKey, Event]:
    """The state that an event cites, for `check_state`; `create` is added where citing it is implied."""
    state = {auth_event.key: auth_event for auth_event in auth_events}
    state.setdefault(CREATE, create)
    return state


def check_state(event: Event, state: StateMap[Event], power_levels: PowerLevels | None = None) -> None:
    """Check the event against a state of its room.

    Of `state` only the entries are read that `select_auth_event_keys` names, and the create event, which must
    be there in every room version. `power_levels` are those of this very state, for callers that have them at
    hand; otherwise they are read where needed.

    Errors: NotAllowed.
    """
    # A create event depends on no state.
    if event.type == CREATE[0]:
        check_create(event)
        return
    create = state.get(CREATE)
    if create is None:
        raise NotAllowed("The room has a create event")
    # If the room is not federated, the sender's server is that of the create event's sender.
    if create.content.get("m.federate") is False and server_of(event.sender) != server_of(create.sender):
        raise NotAllowed("A room that is not federated has users of its own server only")
    # Aliases, where they have a rule of their own, are a matter between the sender and their server.
    if event.type == "m.room.aliases" and event.room_version.aliases_auth_rule:
        _check_aliases(event)
        return
    if event.type == "m.room.member":
        check_membership(event, state, create, power_levels)
        return
    # The sender is joined.
    if membership_in(state, event.sender) != "join":
        raise NotAllowed("The sender is joined")
    if power_levels is None:
        power_levels = PowerLevels.of(state.get(POWER_LEVELS), create)
    _check_power(event, state, create, power_levels)


def _check_power(event: Event, state: StateMap[Event], create: Event, power_levels: PowerLevels) -> None:
    """The rules for what a joined sender may do."""
    sender_level = power_levels.user_level(event.sender)
    # A third-party invite is allowed to those who have the invite level, and to nobody else.
    if event.type == "m.room.third_party_invite":
        if not sender_level >= power_levels.invite:
            raise NotAllowed("The sender of a third-party invite has the power to invite")
        return
    # The sender has the level that the event's type requires.
    if not sender_level >= power_levels.event_level(event.type, event.state_key is not None):
        raise NotAllowed("The sender has the power to send events of this type")
    # A state key that starts with @ is the sender.
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        raise NotAllowed("State whose key starts with @ is set by the user whom it names")
    if event.type == "m.room.power_levels":
        check_power_levels(event, state.get(POWER_LEVELS), create, sender_level)
    elif event.type == "m.room.redaction" and event.room_version.redaction_auth_rule:
        _check_redaction(event, sender_level, power_levels)
    # Otherwise, allow.


def _check_aliases(event: Event) -> None:
    # Aliases have a state key,
    if event.state_key is None:
        raise NotAllowed("Aliases have a state key")
    # which is the sender's server.
    if server_of(event.sender) != event.state_key:
        raise NotAllowed("The state key of aliases is the sender's server")
    # Otherwise, allow.


def _check_redaction(event: Event, sender_level: float, power_levels: PowerLevels) -> None:
    # Who has the redact level may redact everything.
    if sender_level >= power_levels.redact:
        return
    # Others may redact events whose ID was given by the server that gave the redaction its ID.
    server = None if event.redacts is None else server_of(event.redacts)
    if server is None or server != server_of(event.event_id):
        raise NotAllowed(
            "The sender of a redaction has the power to redact, or redacts an event of their server"
        )
