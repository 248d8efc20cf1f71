"""Users of other servers join rooms that this server is in. Spec: server-server API, "Joining Rooms"."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from homeserver.core.errors import Forbidden, InvalidParam
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, server_of
from homeserver.core.json import JsonObject, canonical, decode_object, encode
from homeserver.core.signing import add_signature
from homeserver.core.splice import array, object_of
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.membership_events import MEMBER
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.restricted_joins import authoriser_for
from homeserver.rooms.state_answers import state_answer
from homeserver.services.federation_handshakes import (
    AUTHORISER,
    Asked,
    FederationHandshakes,
    Submitted,
    enter,
)
from homeserver.storage import events, memberships, room_servers, state

MOST_HEROES: Final = 5

FEW_MEMBERS: Final = 100
"""In so small a room nobody is left out: to fetch them afterwards would cost more than it spares."""


class FederationJoins(msgspec.Struct, frozen=True):
    """Lets users of other servers join."""

    handshakes: FederationHandshakes

    async def make(
        self, origin: ServerName, room_id: RoomID, user_id: UserID, versions: Collection[str]
    ) -> JsonObject:
        """A template for the join event. Errors: see `FederationHandshakes.template`."""
        return await self.handshakes.template(Asked(origin, room_id, user_id, "join", versions))

    async def send(self, submitted: Submitted, *, omit_members: bool) -> bytes:
        """Take the join in, and give the room's state before it as the JSON of the answer.

        With `omit_members` the state of a room with many members has the memberships of those only by whom the room is
        called. Errors: NotFound, InvalidParam, Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin.
        """
        handshakes = self.handshakes
        checked = await handshakes.check(submitted)
        signed = await self._signed(submitted, checked)
        servers = await handshakes.database.read(servers_in, submitted.room_id, handshakes.signer.server_name)
        await handshakes.take_in(submitted, signed)
        return await handshakes.database.read(
            join_answer, checked.event, servers, handshakes.signer.server_name, omit_members=omit_members
        )

    async def _signed(self, submitted: Submitted, checked: CheckedPdu) -> CheckedPdu:
        """The event with this server's signature, which says of a restricted join that it is in order."""
        handshakes, version = self.handshakes, checked.event.room_version
        own = handshakes.signer.server_name
        authoriser = checked.event.content.get(AUTHORISER)
        if version.restricted_joins and authoriser is not None:
            server = server_of(UserID(authoriser)) if isinstance(authoriser, str) else None
            if server == own:
                await handshakes.database.read(check_condition, submitted, checked.event, own)
            elif server not in checked.signed_by:
                raise InvalidParam("The join is vouched for by a user of another server")
        pdu = add_signature(decode_object(checked.data), version, own, handshakes.signer.key)
        event = Event.from_pdu(pdu, version, event_id=checked.event.event_id)
        return CheckedPdu(event, canonical(pdu), checked.signed_by | {own})


def check_condition(tx: ReadTransaction, submitted: Submitted, event: Event, server_name: ServerName) -> None:
    """Whether a user here could vouch for the join now. Errors: see `authoriser_for`."""
    current = enter(tx, submitted.origin, submitted.room_id, server_name)
    authoriser_for(tx, current, event.sender, server_name)


def servers_in(tx: ReadTransaction, room_id: RoomID, server_name: ServerName) -> list[ServerName]:
    """The servers in the room. Errors: NotFound."""
    current = enter(tx, server_name, room_id, server_name)
    return list(room_servers.of_room(tx, current.room.room_nid))


def join_answer(
    tx: ReadTransaction,
    join: Event,
    servers: list[ServerName],
    server_name: ServerName,
    *,
    omit_members: bool,
) -> bytes:
    """The answer to `send_join`; `servers` are those in the room before. Spec: `joins-v2.yaml`."""
    stored = events.of(tx, join.event_id)
    if stored is None or stored.state_root is None:
        raise Forbidden("The join has not become part of the room")
    nids: Collection[int] = state.event_nids(tx, stored.state_root)
    whole = state.whole(tx, stored.state_root) if omit_members and len(nids) > FEW_MEMBERS else {}
    omit_members = sum(key[0] == MEMBER for key in whole) > FEW_MEMBERS
    if omit_members:
        nids = _without_members(whole, _heroes(tx, stored.room_nid, whole, join.sender))
    answer = state_answer(
        tx, stored.room_nid, nids, also=[EventID(event_id) for event_id in join.auth_events]
    )
    return object_of(
        {
            "origin": encode(server_name),
            "event": stored.pdu,
            "state": array(answer.state),
            "auth_chain": array(answer.auth_chain),
            "members_omitted": b"true" if omit_members else b"false",
            "servers_in_room": encode([*servers]),
        }
    )


def _without_members(whole: Mapping[StateKey, int], kept: Collection[str]) -> list[int]:
    return [nid for key, nid in whole.items() if key[0] != MEMBER or key[1] in kept]


def _heroes(
    tx: ReadTransaction, room_nid: int, whole: Mapping[StateKey, int], joining: UserID
) -> Collection[str]:
    """Those by whom a room without a name is called. Spec: client-server API, `GET /sync`, `m.heroes`."""
    if ("m.room.name", "") in whole or ("m.room.canonical_alias", "") in whole:
        return ()
    heroes: list[UserID] = []
    for group in (("join", "invite"), ("leave", "ban")):
        for membership in group:
            found = memberships.users(tx, room_nid, membership, most=MOST_HEROES + 1)
            heroes += (user_id for user_id in found if user_id != joining)
        if heroes:
            break
    return heroes[:MOST_HEROES]
