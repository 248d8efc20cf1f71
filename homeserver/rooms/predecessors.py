"""What moves with a user from a room to the one that replaces it. Transaction functions.

Spec: client-server API, "Room Upgrades": "When a user joins the new room, the server should automatically
transfer/replicate some of the user's personalized settings such as notifications, tags, etc."
"""

from typing import Final

import msgspec

from homeserver.core.errors import TooLarge
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue, decode_object, encode
from homeserver.core.push_rules import Customisation, OwnRule, RuleKind
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.storage import account_data, events, memberships, push_rules, rooms, state

TOMBSTONE: Final[StateKey] = ("m.room.tombstone", "")
TAGS: Final = "m.tag"
DIRECT: Final = "m.direct"

_KINDS: Final = (RuleKind.OVERRIDE, RuleKind.ROOM, RuleKind.UNDERRIDE)
"""The kinds of rules that are about a room, under its ID."""

_NO_RULES: Final = Customisation().to_bytes()


def predecessor_of(create: Event) -> RoomID | None:
    """The room that a room says it replaces."""
    predecessor = create.content.get("predecessor")
    room_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
    return RoomID(room_id) if isinstance(room_id, str) else None


def follow(tx: WriteTransaction, user_id: UserID, room_id: RoomID, create: Event) -> None:
    """A user of this server has come into a room: if it replaces another one of the user's, settings follow.

    Anybody can make a room that claims to replace another: what counts is what the other one says.
    """
    old_room_id = predecessor_of(create)
    if old_room_id is None:
        return
    old = memberships.room_of(tx, user_id, old_room_id)
    if old is not None and old.was_joined and _replacement_of(tx, old_room_id) == room_id:
        carry_over(tx, user_id, old_room_id, room_id)


def carry_over(tx: WriteTransaction, user_id: UserID, old_room_id: RoomID, room_id: RoomID) -> None:
    """Give the user in one room the tags, the push rules and the place among direct chats of another."""
    _carry_tags(tx, user_id, old_room_id, room_id)
    _carry_direct(tx, user_id, old_room_id, room_id)
    _carry_rules(tx, user_id, old_room_id, room_id)


def _replacement_of(tx: ReadTransaction, room_id: RoomID) -> str | None:
    """The room that replaces a room, as its tombstone says."""
    room = rooms.of(tx, room_id)
    nid = None if room is None else state.get(tx, room.state_root, TOMBSTONE)
    if room is None or nid is None:
        return None
    replacement = events.parsed(tx, [nid], get_room_version(room.version))[nid].content.get(
        "replacement_room"
    )
    return replacement if isinstance(replacement, str) else None


def _carry_tags(tx: WriteTransaction, user_id: UserID, old_room_id: RoomID, room_id: RoomID) -> None:
    tags = account_data.of(tx, user_id, old_room_id, TAGS)
    # What the user has said of the new room already stands.
    if tags is not None and account_data.of(tx, user_id, room_id, TAGS) is None:
        account_data.put(tx, user_id, room_id, TAGS, tags)


def _carry_direct(tx: WriteTransaction, user_id: UserID, old_room_id: RoomID, room_id: RoomID) -> None:
    content = account_data.of(tx, user_id, account_data.GLOBAL, DIRECT)
    if content is None or old_room_id.encode() not in content:
        return
    direct = decode_object(account_data.lock(tx, user_id, account_data.GLOBAL, DIRECT))
    changed: JsonObject = {
        other: _with_room(listed, old_room_id, room_id) for other, listed in direct.items()
    }
    account_data.put(tx, user_id, account_data.GLOBAL, DIRECT, encode(changed))


def _with_room(listed: JsonValue, old_room_id: RoomID, room_id: RoomID) -> JsonValue:
    if not isinstance(listed, list) or old_room_id not in listed or room_id in listed:
        return listed
    return [*listed, room_id]


def _carry_rules(tx: WriteTransaction, user_id: UserID, old_room_id: RoomID, room_id: RoomID) -> None:
    stored = push_rules.of(tx, user_id)
    if stored is None or old_room_id.encode() not in stored:
        return
    rules = before = Customisation.from_bytes(push_rules.lock(tx, user_id, empty=_NO_RULES))
    try:
        for kind in _KINDS:
            own = {rule.rule_id: rule for rule in before.own.get(kind, ())}
            if old_room_id in own and room_id not in own:
                rules = rules.with_rule(
                    kind, _about(own[old_room_id], old_room_id, room_id), after=old_room_id
                )
    except TooLarge:
        # The join is worth more than the rule, which the user has no room for.
        rules = before
    push_rules.put(tx, user_id, rules.to_bytes())


def _about(rule: OwnRule, old_room_id: RoomID, room_id: RoomID) -> OwnRule:
    """The rule, about the other room."""
    conditions = rule.conditions
    if conditions is not None:
        conditions = tuple(
            {**condition, "pattern": room_id}
            if condition.get("key") == "room_id" and condition.get("pattern") == old_room_id
            else {**condition, "value": room_id}
            if condition.get("key") == "room_id" and condition.get("value") == old_room_id
            else condition
            for condition in conditions
        )
    return msgspec.structs.replace(rule, rule_id=room_id, conditions=conditions)
