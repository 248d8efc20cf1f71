"""Creating rooms. Spec: client-server API, "Creation"."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.appservices import Appservices
from homeserver.core.errors import (
    Forbidden,
    InvalidParam,
    InvalidRoomState,
    MatrixError,
    RoomInUse,
)
from homeserver.core.identifiers import RoomAlias, RoomID, ServerName, UserID, server_of
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.requester import Requester
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.space_children import SPACE
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms import invitations
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.members import member_content
from homeserver.rooms.membership_changes import check_not_suspended
from homeserver.runtime.clock import Clock
from homeserver.services.aliases import new_alias
from homeserver.services.memberships import Memberships
from homeserver.services.state_checks import check_state_content
from homeserver.storage import aliases, rooms

_log = structlog.get_logger(__name__)

MAX_INVITES: Final = 100
MAX_INITIAL_STATE: Final = 200
"""The whole room is made in one transaction, during which others wait."""

PRESETS: Final[Mapping[str, Mapping[str, str]]] = {
    "private_chat": {"join_rule": "invite", "guest_access": "can_join"},
    "trusted_private_chat": {"join_rule": "invite", "guest_access": "can_join"},
    "public_chat": {"join_rule": "public", "guest_access": "forbidden"},
}
"""What each preset sets; history is `shared` in all of them."""

ENCRYPTED_PRESETS: Final[Mapping[str, frozenset[str]]] = {
    "off": frozenset(),
    "invite": frozenset({"private_chat", "trusted_private_chat"}),
    "all": frozenset(PRESETS),
}
"""The presets whose rooms are encrypted by default, by what the configuration says."""

ENCRYPTION: Final = "m.room.encryption"
MEGOLM: Final = "m.megolm.v1.aes-sha2"


class StateDraft(msgspec.Struct, frozen=True):
    """A state event that the creator wants in the room from the beginning."""

    type: str
    state_key: str
    content: JsonObject


class NewRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What the creator asks for; `None` for what was not said. `is_encrypted`: if `initial_state` does not say how."""

    preset: str | None = None
    is_public: bool = False
    alias_localpart: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: tuple[UserID, ...] = ()
    room_version: str | None = None
    creation_content: JsonObject = msgspec.field(default_factory=dict)
    initial_state: tuple[StateDraft, ...] = ()
    is_direct: bool = False
    power_level_content_override: JsonObject = msgspec.field(default_factory=dict)
    is_encrypted: bool = False


class RoomCreation(msgspec.Struct, frozen=True):
    """Creates rooms; those made with one of `encrypted_presets` are encrypted, unless they are spaces."""

    database: Database
    clock: Clock
    signer: Signer
    default_room_version: str
    memberships: Memberships
    encrypted_presets: frozenset[str]
    appservices: Appservices = Appservices()

    async def create(self, requester: Requester, wanted: NewRoom) -> RoomID:
        """Create the room with all its first events, or nothing of it.

        Errors: UnsupportedRoomVersion, RoomInUse, InvalidParam, BadJson, BadAlias, Exclusive, TooLarge;
        InvalidRoomState if the wanted events do not make a room; Forbidden, InviteBlocked if somebody cannot be
        invited; UserSuspended.
        """
        version = get_room_version(wanted.room_version or self.default_room_version)
        alias = None
        if wanted.alias_localpart is not None:
            alias = new_alias(wanted.alias_localpart, self.signer.server_name)
            self.appservices.check_alias(alias, requester.appservice_id)
        _check_size(wanted)
        if _preset(wanted) in self.encrypted_presets and wanted.creation_content.get("type") != SPACE:
            wanted = msgspec.structs.replace(wanted, is_encrypted=True)
        room_id = None
        if not version.room_id_is_create_hash:
            room_id = RoomID(f"!{secrets.token_urlsafe(18)}:{self.signer.server_name}")
        room_id = await self.database.write(
            create_room,
            requester.user_id,
            wanted,
            version,
            room_id,
            alias,
            self.signer,
            now_ts=self.clock.now_ts(),
        )
        await self._invite_others(requester, room_id, wanted)
        return room_id

    async def _invite_others(self, requester: Requester, room_id: RoomID, wanted: NewRoom) -> None:
        """Invite the users of other servers, all at once; the room stays if one of them cannot be invited."""
        others = _users_elsewhere(wanted, self.signer.server_name)
        extra: JsonObject = {"is_direct": True} if wanted.is_direct else {}

        async def invite(user_id: UserID) -> None:
            try:
                await self.memberships.invite(requester, room_id, user_id, extra)
            except MatrixError as error:
                _log.info("an invitation to a new room failed", user=user_id, reason=str(error))

        await gatherResults([Deferred.fromCoroutine(invite(user_id)) for user_id in others])


def create_room(
    tx: WriteTransaction,
    creator: UserID,
    wanted: NewRoom,
    version: RoomVersion,
    room_id: RoomID | None,
    alias: RoomAlias | None,
    signer: Signer,
    *,
    now_ts: int,
) -> RoomID:
    """Make the room's first events in the specification's order. Errors: see `RoomCreation.create`."""
    check_not_suspended(tx, creator)
    for user_id in wanted.invite:
        if server_of(user_id) == signer.server_name:
            invitations.check_accepts(tx, user_id)
    create = Draft(creator, "m.room.create", _create_content(creator, wanted, version), state_key="")
    try:
        appender = Appender.found(tx, version.identifier, room_id, create, signer, now_ts=now_ts)
        room_id = appender.room.room_id
        if alias is not None and not aliases.add(tx, alias, room_id, creator, now_ts=now_ts):
            raise RoomInUse(f"The alias {alias} is taken")
        for state in _first_state(tx, creator, wanted, version, alias):
            appender.append(Draft(creator, state.type, state.content, state_key=state.state_key))
        for state in _wanted_state(wanted):
            check_state_content(tx, appender, signer, state.type, state.state_key, state.content)
            appender.append(Draft(creator, state.type, state.content, state_key=state.state_key))
        for state in _invites(tx, wanted, signer.server_name):
            appender.append(Draft(creator, state.type, state.content, state_key=state.state_key))
    except Forbidden as error:
        raise InvalidRoomState(f"The room cannot be made as asked: {error.message}") from error
    appender.publish()
    if wanted.is_public:
        rooms.set_public(tx, room_id, public=True)
    return room_id


def _create_content(creator: UserID, wanted: NewRoom, version: RoomVersion) -> JsonObject:
    content = {
        key: value for key, value in wanted.creation_content.items() if key not in ("creator", "room_version")
    }
    content["room_version"] = version.identifier
    if not version.implicit_room_creator:
        content["creator"] = creator
    if version.privileged_creators and _preset(wanted) == "trusted_private_chat":
        stated = content.get("additional_creators", [])
        if not isinstance(stated, list) or not all(isinstance(user_id, str) for user_id in stated):
            raise InvalidParam("creation_content.additional_creators must be a list of user IDs")
        additional: list[JsonValue] = list(dict.fromkeys([*stated, *wanted.invite]))
        if additional:
            content["additional_creators"] = additional
    return content


def _first_state(
    tx: ReadTransaction, creator: UserID, wanted: NewRoom, version: RoomVersion, alias: RoomAlias | None
) -> Iterable[StateDraft]:
    """The events between the create event and those that the creator lists."""
    yield StateDraft("m.room.member", creator, member_content(tx, creator, "join"))
    yield StateDraft("m.room.power_levels", "", _power_levels(creator, wanted, version))
    if alias is not None:
        yield StateDraft("m.room.canonical_alias", "", {"alias": alias})
    stated = {(state.type, state.state_key) for state in wanted.initial_state}
    preset = PRESETS[_preset(wanted)]
    for name, value in (
        ("join_rules", {"join_rule": preset["join_rule"]}),
        ("history_visibility", {"history_visibility": "shared"}),
        ("guest_access", {"guest_access": preset["guest_access"]}),
    ):
        if (f"m.room.{name}", "") not in stated:
            yield StateDraft(f"m.room.{name}", "", dict(value))
    if wanted.is_encrypted and (ENCRYPTION, "") not in stated:
        yield StateDraft(ENCRYPTION, "", {"algorithm": MEGOLM})


def _wanted_state(wanted: NewRoom) -> Iterable[StateDraft]:
    """The events that the creator lists, and those for name and topic."""
    overridden = {
        ("m.room.name", ""): wanted.name is not None,
        ("m.room.topic", ""): wanted.topic is not None,
    }
    for state in wanted.initial_state:
        if state.type in ("m.room.create", "m.room.member"):
            raise InvalidRoomState(f"initial_state cannot have {state.type}: the server makes those events")
        if not overridden.get((state.type, state.state_key), False):
            yield state
    if wanted.name is not None:
        yield StateDraft("m.room.name", "", {"name": wanted.name})
    if wanted.topic is not None:
        text: JsonObject = {"m.text": [{"body": wanted.topic}]}
        yield StateDraft("m.room.topic", "", {"topic": wanted.topic, "m.topic": text})


def _users_elsewhere(wanted: NewRoom, server_name: ServerName) -> list[UserID]:
    return [user_id for user_id in dict.fromkeys(wanted.invite) if server_of(user_id) != server_name]


def _invites(tx: ReadTransaction, wanted: NewRoom, server_name: ServerName) -> Iterable[StateDraft]:
    """Of the users of this server; others have to be asked."""
    for user_id in dict.fromkeys(wanted.invite):
        if server_of(user_id) != server_name:
            continue
        content = member_content(tx, user_id, "invite")
        if wanted.is_direct:
            content["is_direct"] = True
        yield StateDraft("m.room.member", user_id, content)


def _power_levels(creator: UserID, wanted: NewRoom, version: RoomVersion) -> JsonObject:
    users: JsonObject = {}
    if not version.privileged_creators:
        users[creator] = 100
        if _preset(wanted) == "trusted_private_chat":
            users.update(dict.fromkeys(wanted.invite, 100))
    content: JsonObject = {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.canonical_alias": 50,
            "m.room.avatar": 50,
            "m.room.tombstone": 100,
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 0,
    }
    content.update(wanted.power_level_content_override)
    if version.privileged_creators:
        _guard_tombstones(content, wanted.power_level_content_override)
    return content


def _guard_tombstones(content: JsonObject, override: JsonObject) -> None:
    """Keep upgrades to the creators, where those have a power of their own, unless the client says otherwise.

    "the power level for sending m.room.tombstone events MUST explicitly be higher than state_default"
    """
    stated = override.get("events")
    events, state_default = content["events"], content["state_default"]
    if isinstance(events, dict) and not (isinstance(stated, dict) and "m.room.tombstone" in stated):
        level = max(150, state_default + 1) if isinstance(state_default, int) else 150
        content["events"] = {**events, "m.room.tombstone": level}


def _check_size(wanted: NewRoom) -> None:
    if len(wanted.invite) > MAX_INVITES:
        raise InvalidParam(f"invite has at most {MAX_INVITES} users: others can be invited afterwards")
    if len(wanted.initial_state) > MAX_INITIAL_STATE:
        raise InvalidParam(f"initial_state has at most {MAX_INITIAL_STATE} events")


def _preset(wanted: NewRoom) -> str:
    return wanted.preset or ("public_chat" if wanted.is_public else "private_chat")
