"""What the stream has for other servers: read once, and serialised once, whatever the number of destinations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.database.kinds import Kind, StreamRow
from homeserver.database.transactions import ReadTransaction
from homeserver.services.federation_outbox.edus import PresenceEdu, ReceiptEdu, TypingEdu
from homeserver.services.federation_outbox.greetings import Greeting, greetings
from homeserver.services.federation_outbox.sources import EduSource
from homeserver.services.federation_outbox.transactions import Pdu
from homeserver.storage import outbound_edus, outbound_events, sticky_events
from homeserver.storage.outbound_edus import OutboundPresence, OutboundReceipt, OutboundTyping
from homeserver.storage.outbound_events import Newcomer, OutboundEvent

MOST_EVENTS: Final = 500
MOST_EDUS: Final = 1_000
"""Rows of each kind that one reading takes."""

_EXPULSIONS: Final = ("leave", "ban")

Servers = tuple[ServerName, ...]


class Batch(msgspec.Struct, frozen=True):
    """What was published with `after < position <= upto`, each with the servers that it is for.

    `durable` are, by the index of their source, the servers for which something new waits there.
    """

    after: int
    upto: int
    is_all: bool
    pdus: Sequence[tuple[Pdu, Servers]] = ()
    receipts: Sequence[tuple[ReceiptEdu, Servers]] = ()
    typing: Sequence[tuple[int, TypingEdu, Servers]] = ()
    presence: Sequence[tuple[int, PresenceEdu, Servers]] = ()
    durable: Sequence[tuple[int, Servers]] = ()


class _Rows(msgspec.Struct, frozen=True):
    """Rows of a window that ends at `upto`."""

    upto: int
    events: Sequence[OutboundEvent]
    receipts: Sequence[OutboundReceipt]
    typing: Sequence[OutboundTyping]
    presence: Sequence[OutboundPresence]


class StreamReader(msgspec.Struct, frozen=True):
    """Reads for the server `own_name`; `allows` says with which servers it deals."""

    own_name: ServerName
    allows: Callable[[ServerName], bool]
    sources: Sequence[EduSource] = ()

    def read(self, tx: ReadTransaction, *, after: int, now_ts: int) -> Batch:
        """The next rows after a position."""
        stream = tx.stream_row()
        if stream.position <= after:
            return Batch(after, after, is_all=True)
        rows = _read_rows(tx, stream, after)
        ours = [row for row in rows.receipts if self._is_ours(row.receipt.user_id)]
        typists = [row for row in rows.typing if self._is_ours(row.user_id)]
        has_events = stream.changed_since(Kind.EVENTS, after)
        newcomers = outbound_events.newcomers(tx, after=after, upto=rows.upto) if has_events else []
        rooms = {row.room_nid for row in rows.events} | {each.room_nid for each in newcomers}
        rooms |= {row.room_nid for row in ours} | {row.room_nid for row in typists}
        counts = outbound_events.servers_of(tx, rooms) if rooms else {}
        servers = {room_nid: self._others(names) for room_nid, names in counts.items()}
        joined_at = _joined_at(newcomers, counts)
        met = greetings(tx, joined_at, after=after, upto=rows.upto) if has_events else []
        return Batch(
            after,
            rows.upto,
            rows.upto == stream.position,
            [
                *self._sticky(tx, joined_at, now_ts=now_ts),
                *(self._pdus(tx, rows, servers, joined_at, after) if rows.events else ()),
            ],
            [
                (ReceiptEdu.of(row.position, row.room_id, row.receipt), servers.get(row.room_nid, ()))
                for row in ours
            ],
            [
                (
                    row.position,
                    TypingEdu.of(row.room_id, row.user_id, is_typing=row.expires_ts > now_ts),
                    servers.get(row.room_nid, ()),
                )
                for row in typists
            ],
            [
                *self._greetings(met, now_ts=now_ts),
                *self._presence(tx, rows.presence, now_ts=now_ts),
            ],
            [
                (index, self._others(source.concerned(tx, after=after, upto=rows.upto)))
                for index, source in enumerate(self.sources)
                if stream.changed_since(source.kind, after)
            ],
        )

    def _is_ours(self, user_id: UserID) -> bool:
        return server_of(user_id) == self.own_name

    def _others(self, names: Iterable[ServerName]) -> Servers:
        return tuple(name for name in names if name != self.own_name and self.allows(name))

    def _pdus(
        self,
        tx: ReadTransaction,
        rows: _Rows,
        servers: Mapping[int, Servers],
        joined_at: Mapping[tuple[int, ServerName], int],
        after: int,
    ) -> list[tuple[Pdu, Servers]]:
        """The events, each for the servers that were in the room when it was sent."""
        until_expelled = self._until_expelled(tx, rows, servers, after)
        found = []
        for row in rows.events:
            to = servers.get(row.room_nid, ())
            if row.membership in _EXPULSIONS and row.state_key is not None:
                target = server_of(UserID(row.state_key))
                if target is not None and target not in to:
                    to = (*to, *self._others([target]))
            to = (
                *to,
                *(
                    name
                    for name, came_in, expelled in until_expelled.get(row.room_nid, ())
                    if came_in < row.position < expelled and name not in to
                ),
            )
            sender = server_of(row.sender)
            if sender != self.own_name:
                # Such as a join that came to us by a handshake.
                to = tuple(name for name in to if name != sender)
            if joined_at:
                to = tuple(name for name in to if joined_at.get((row.room_nid, name), 0) < row.position)
            found.append((Pdu(row.position, row.room_nid, row.event_id, row.pdu), to))
        return found

    def _sticky(
        self, tx: ReadTransaction, joined_at: Mapping[tuple[int, ServerName], int], *, now_ts: int
    ) -> list[tuple[Pdu, Servers]]:
        """What sticks in rooms that servers have come into, for those: as if it were sent where they came in."""
        found: list[tuple[Pdu, Servers]] = []
        for (room_nid, name), position in joined_at.items():
            to = self._others([name])
            nids = sticky_events.own(tx, room_nid, after=0, before=position, now_ts=now_ts) if to else []
            found += (
                (Pdu(position, row.room_nid, row.event_id, row.pdu), to)
                for row in (outbound_events.of_nids(tx, nids) if nids else ())
            )
        return found

    def _until_expelled(
        self, tx: ReadTransaction, rows: _Rows, servers: Mapping[int, Servers], after: int
    ) -> dict[int, list[tuple[ServerName, int, int]]]:
        """By room the servers that are there no more since their users were put out: from when to when they were."""
        targets = {
            target
            for row in rows.events
            if row.membership in _EXPULSIONS and row.state_key is not None
            if (target := server_of(UserID(row.state_key))) is not None
            if target not in servers.get(row.room_nid, ())
        }
        found: dict[int, list[tuple[ServerName, int, int]]] = {}
        for name in self._others(sorted(targets)):
            expulsions, _ = outbound_events.expulsions(
                tx, name, after=after, upto=rows.upto, most=MOST_EVENTS
            )
            for each in expulsions:
                if each.was_joined and name not in servers.get(each.room_nid, ()):
                    came_in = outbound_events.came_in(tx, each, after=after)
                    found.setdefault(each.room_nid, []).append((name, came_in, each.position))
        return found

    def _greetings(self, met: Iterable[Greeting], *, now_ts: int) -> list[tuple[int, PresenceEdu, Servers]]:
        return [
            (
                each.position,
                PresenceEdu.of(each.presence.user_id, each.presence.presence, now_ts=now_ts),
                self._others(each.servers),
            )
            for each in met
        ]

    def _presence(
        self, tx: ReadTransaction, rows: Iterable[OutboundPresence], *, now_ts: int
    ) -> list[tuple[int, PresenceEdu, Servers]]:
        ours = [row for row in rows if self._is_ours(row.user_id)]
        sharing = outbound_edus.servers_of(tx, {row.user_id for row in ours}) if ours else {}
        return [
            (
                row.position,
                PresenceEdu.of(row.user_id, row.presence, now_ts=now_ts),
                self._others(sharing.get(row.user_id, ())),
            )
            for row in ours
        ]


def _read_rows(tx: ReadTransaction, stream: StreamRow, after: int) -> _Rows:
    """What there is after a position; the window is as wide as the most numerous kind of rows allows."""
    upto = stream.position
    events = (
        outbound_events.new(tx, after=after, upto=upto, most=MOST_EVENTS)
        if stream.changed_since(Kind.EVENTS, after)
        else []
    )
    receipts = (
        outbound_edus.receipts_between(tx, after=after, upto=upto, most=MOST_EDUS)
        if stream.changed_since(Kind.RECEIPTS, after)
        else []
    )
    typing = (
        outbound_edus.typing_between(tx, after=after, upto=upto, most=MOST_EDUS)
        if stream.changed_since(Kind.TYPING, after)
        else []
    )
    presence = (
        outbound_edus.presence_between(tx, after=after, upto=upto, most=MOST_EDUS)
        if stream.changed_since(Kind.PRESENCE, after)
        else []
    )
    for rows, most in (
        (events, MOST_EVENTS),
        (receipts, MOST_EDUS),
        (typing, MOST_EDUS),
        (presence, MOST_EDUS),
    ):
        if len(rows) == most:
            upto = min(upto, rows[-1].position)
    return _Rows(
        upto,
        [row for row in events if row.position <= upto],
        [row for row in receipts if row.position <= upto],
        [row for row in typing if row.position <= upto],
        [row for row in presence if row.position <= upto],
    )


def _joined_at(
    newcomers: Iterable[Newcomer], counts: Mapping[int, Mapping[ServerName, int]]
) -> dict[tuple[int, ServerName], int]:
    """Where servers came into rooms in the window: those all of whose members are newcomers."""
    found: dict[tuple[int, ServerName], list[int]] = {}
    for each in newcomers:
        server_name = server_of(each.user_id)
        if server_name is not None:
            found.setdefault((each.room_nid, server_name), []).append(each.since_position)
    return {
        (room_nid, server_name): min(positions)
        for (room_nid, server_name), positions in found.items()
        if len(positions) >= counts.get(room_nid, {}).get(server_name, 1)
    }
