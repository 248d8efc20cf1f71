"""Invitations that are said to be withdrawn, by somebody who is not believed: the inviter's server is asked.

It would help the user to reject the invitation, as long as there is one. Spec: server-server API, "Leaving Rooms
(Rejecting Invites)".
"""

import msgspec

from homeserver.clients.errors import RemoteError
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.missing import Incomplete
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.services.federation_withdrawals import Word, weigh_word, withdraw
from homeserver.services.remote_handshakes import RemoteHandshakes, own_membership
from homeserver.storage import memberships, room_servers, rooms


class RemoteWithdrawals(msgspec.Struct, frozen=True):
    """Finds out about withdrawals of invitations to rooms that this server is not in."""

    database: Database
    handshakes: RemoteHandshakes

    async def settle(self, pdu: CheckedPdu) -> None:
        """Let the event withdraw an invitation, if the inviter's server knows of that; other events are nothing.

        Errors: Incomplete if it does not know of it yet, or cannot be asked.
        """
        own, event = self.handshakes.signer.server_name, pdu.event
        inviters = await self.database.read(doubted_server, pdu, own)
        if inviters is None:
            return
        user_id = UserID(event.state_key or "")
        wanted = own_membership(user_id, {"membership": "leave"})
        try:
            await self.handshakes.make(inviters, event.room_id, wanted)
        except RemoteError as error:
            if error.status != 403:
                raise Incomplete(f"the server of the inviter cannot be asked: {error.message}") from error
        else:
            raise Incomplete("by the inviter's server, the invitation stands")
        await self.database.write(settle, pdu, own, now_ts=self.handshakes.clock.now_ts())


def doubted_server(tx: ReadTransaction, pdu: CheckedPdu, server_name: ServerName) -> ServerName | None:
    """The server that can tell whether the event withdraws an invitation; None if it does nothing of the kind."""
    room = _room_outside(rooms.of(tx, pdu.event.room_id), tx, server_name)
    if room is None or weigh_word(tx, room, pdu.event, server_name) is not Word.DOUBTED:
        return None
    member = memberships.of(tx, room.room_nid, UserID(pdu.event.state_key or ""))
    return None if member is None else server_of(member.sender)


def settle(tx: WriteTransaction, pdu: CheckedPdu, server_name: ServerName, *, now_ts: int) -> None:
    """Note the withdrawal, unless the invitation is not there any more."""
    room = _room_outside(rooms.lock(tx, pdu.event.room_id), tx, server_name)
    if room is not None and weigh_word(tx, room, pdu.event, server_name) is Word.DOUBTED:
        withdraw(tx, pdu, server_name, now_ts=now_ts)


def _room_outside(room: rooms.Room | None, tx: ReadTransaction, server_name: ServerName) -> rooms.Room | None:
    """The room, if this server is not in it."""
    return None if room is None or room_servers.joined(tx, room.room_nid, server_name) else room
