"""Replacing a room by one of another version. Spec: client-server API, "Room Upgrades"."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from homeserver.core.auth_events import CREATE, POWER_LEVELS
from homeserver.core.errors import BadJson, Forbidden, InvalidRoomState, TooLarge
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, RoomAlias, RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.requester import Requester
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.space_children import SPACE, SPACE_CHILD
from homeserver.core.upgraded_levels import levels_for_new_room, levels_for_old_room
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import predecessors
from homeserver.rooms.append import Appender
from homeserver.rooms.current_state import current_content
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.members import member_content
from homeserver.rooms.membership_changes import check_not_suspended
from homeserver.rooms.power import levels_in
from homeserver.runtime.clock import Clock
from homeserver.services.aliases import CANONICAL_ALIAS
from homeserver.storage import aliases, rooms, state

TRANSFERRED: Final[tuple[StateKey, ...]] = (
    ("m.room.server_acl", ""),
    ("m.room.encryption", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.guest_access", ""),
    ("m.room.history_visibility", ""),
    ("m.room.join_rules", ""),
)
"""The state that the new room gets from the old one, beside its power levels; of a space, its children follow."""

MOST_CHILDREN: Final = 500
"""Of a space, which are transferred: the whole room is made in one transaction, during which others wait."""

MOST_CREATORS: Final = 100

BODY: Final = "This room has been replaced"


class Replacement(msgspec.Struct, frozen=True):
    """What is wanted in place of a room; `room_id` is None where the new room's create event decides it."""

    version: RoomVersion
    additional_creators: tuple[UserID, ...]
    room_id: RoomID | None


class RoomUpgrades(msgspec.Struct, frozen=True):
    """Replaces rooms."""

    database: Database
    clock: Clock
    signer: Signer

    async def upgrade(
        self, requester: Requester, room_id: RoomID, new_version: str, additional_creators: Sequence[UserID]
    ) -> RoomID:
        """Make a room that replaces another, all of it or nothing; gives its ID.

        Errors: UnsupportedRoomVersion; NotFound; Forbidden for who cannot send the room's `m.room.tombstone`;
        TooLarge for too many creators; UserSuspended.
        """
        version = get_room_version(new_version)
        if not version.privileged_creators:
            additional_creators = ()
        if len(additional_creators) > MOST_CREATORS:
            raise TooLarge(f"a room has at most {MOST_CREATORS} additional creators")
        new_room_id = None
        if not version.room_id_is_create_hash:
            new_room_id = RoomID(f"!{secrets.token_urlsafe(18)}:{self.signer.server_name}")
        replacement = Replacement(version, tuple(dict.fromkeys(additional_creators)), new_room_id)
        return await self.database.write(
            upgrade_room, self.signer, requester.user_id, room_id, replacement, now_ts=self.clock.now_ts()
        )


def upgrade_room(
    tx: WriteTransaction,
    signer: Signer,
    user_id: UserID,
    room_id: RoomID,
    replacement: Replacement,
    *,
    now_ts: int,
) -> RoomID:
    """Replace the room. Errors: see `RoomUpgrades.upgrade`."""
    check_not_suspended(tx, user_id)
    old = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    # Before the tombstone, which changes nothing of what is transferred.
    transferred = list(_transferred(tx, old))
    last_event_id: EventID | None = old.room.extremities[-1][0]
    if replacement.room_id is not None:
        # Where the tombstone need not wait for the new room, that can name it as the last event of the old one.
        last_event_id = _bury(old, user_id, replacement.room_id).event_id
    create = _create_content(old, user_id, replacement, last_event_id)
    try:
        new = _found(tx, signer, user_id, replacement, create, now_ts=now_ts)
        new_room_id = new.room.room_id
        _append_state(new, user_id, transferred)
        moved = aliases.of_room(tx, room_id)
        _append_aliases(old, new, user_id, moved)
        creators = {user_id, *replacement.additional_creators}
        levels = levels_for_new_room(
            old.state_event(POWER_LEVELS), _create_of(old), replacement.version, creators
        )
        # Last, since the requester may not have the power for all of the above by it.
        new.append(Draft(user_id, "m.room.power_levels", levels, state_key=""))
    except Forbidden as error:
        raise InvalidRoomState(f"The new room cannot be made: {error.message}") from error
    if replacement.room_id is None:
        _bury(old, user_id, new_room_id)
    _quieten(old, user_id, moved)
    old.publish()
    new.publish()
    aliases.move(tx, room_id, new_room_id)
    if old.room.is_public:
        rooms.set_public(tx, room_id, public=False)
        rooms.set_public(tx, new_room_id, public=True)
    predecessors.carry_over(tx, user_id, room_id, new_room_id)
    return new_room_id


def _create_of(old: Appender) -> Event:
    return old.state_events((CREATE,))[CREATE]


def _create_content(
    old: Appender, user_id: UserID, replacement: Replacement, last_event_id: EventID | None
) -> JsonObject:
    version, before = replacement.version, _create_of(old).content
    predecessor: JsonObject = {"room_id": old.room.room_id}
    if last_event_id is not None:
        predecessor["event_id"] = last_event_id
    content: JsonObject = {"room_version": version.identifier, "predecessor": predecessor}
    if not version.implicit_room_creator:
        content["creator"] = user_id
    if isinstance(before.get("type"), str):
        content["type"] = before["type"]
    if before.get("m.federate") is False:
        # Ours: a room that was for this server's users alone does not become open to others by itself.
        content["m.federate"] = False
    others: list[JsonValue] = [each for each in replacement.additional_creators if each != user_id]
    if others:
        content["additional_creators"] = others
    return content


def _found(
    tx: WriteTransaction,
    signer: Signer,
    user_id: UserID,
    replacement: Replacement,
    create: JsonObject,
    *,
    now_ts: int,
) -> Appender:
    """The new room, with the requester in it."""
    draft = Draft(user_id, "m.room.create", create, state_key="")
    new = Appender.found(
        tx, replacement.version.identifier, replacement.room_id, draft, signer, now_ts=now_ts
    )
    new.append(Draft(user_id, "m.room.member", member_content(tx, user_id, "join"), state_key=user_id))
    return new


def _transferred(tx: ReadTransaction, old: Appender) -> Iterator[Event]:
    """The state events of the old room whose content the new one gets."""
    keys = list(TRANSFERRED)
    if _create_of(old).content.get("type") == SPACE:
        whole = state.whole(tx, old.room.state_root)
        keys += [key for key in whole if key[0] == SPACE_CHILD][:MOST_CHILDREN]
    found = old.state_events(keys)
    for key in keys:
        event = found.get(key)
        # Content that is gone, by a redaction or a removal, is nothing to transfer.
        if event is not None and event.content:
            yield event


def _append_state(new: Appender, user_id: UserID, transferred: Iterable[Event]) -> None:
    for event in transferred:
        content = event.content
        if event.type == "m.room.join_rules" and not _has_rule(new.version, content.get("join_rule")):
            # Nobody could join by a rule that the version does not know: that is what `invite` says.
            content = {"join_rule": "invite"}
        try:
            new.append(Draft(user_id, event.type, content, state_key=event.state_key))
        except BadJson:
            # Old versions let numbers be in events that none can be in where JSON is canonical.
            continue


def _has_rule(version: RoomVersion, join_rule: JsonValue) -> bool:
    known = {
        "knock": version.knocking,
        "restricted": version.restricted_joins,
        "knock_restricted": version.knock_restricted,
    }
    return known.get(join_rule, True) if isinstance(join_rule, str) else True


def _append_aliases(old: Appender, new: Appender, user_id: UserID, moved: Sequence[RoomAlias]) -> None:
    """The new room is called what the old one was, as far as its names move along."""
    before = current_content(old, CANONICAL_ALIAS)
    content: JsonObject = {}
    if before.get("alias") in moved:
        content["alias"] = before["alias"]
    others = before.get("alt_aliases")
    if kept := [alias for alias in (others if isinstance(others, list) else ()) if alias in moved]:
        content["alt_aliases"] = kept
    if content:
        new.append(Draft(user_id, CANONICAL_ALIAS[0], content, state_key=CANONICAL_ALIAS[1]))


def _bury(old: Appender, user_id: UserID, room_id: RoomID) -> Event:
    """Say in the old room what replaces it. Errors: Forbidden."""
    content: JsonObject = {"body": BODY, "replacement_room": room_id}
    return old.append(Draft(user_id, "m.room.tombstone", content, state_key=""))


def _quieten(old: Appender, user_id: UserID, moved: Sequence[RoomAlias]) -> None:
    """Take the names that have moved from the old room, and let few speak there or invite, "if possible"."""
    before = current_content(old, CANONICAL_ALIAS)
    others = before.get("alt_aliases")
    after = {key: value for key, value in before.items() if key != "alias" or value not in moved}
    if isinstance(others, list):
        after["alt_aliases"] = [alias for alias in others if alias not in moved]
    levels = levels_for_old_room(old.state_event(POWER_LEVELS), levels_in(old))
    drafts = [Draft(user_id, POWER_LEVELS[0], levels, state_key="")]
    if after != before:
        drafts.insert(0, Draft(user_id, CANONICAL_ALIAS[0], after, state_key=CANONICAL_ALIAS[1]))
    for draft in drafts:
        try:
            old.append(draft)
        except Forbidden:
            # It is not: the requester may replace the room, and no more.
            continue
