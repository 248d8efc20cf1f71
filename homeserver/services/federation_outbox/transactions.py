"""Transactions: what goes to a destination in one request. Spec: server-server API, "Transactions"."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from homeserver.core import splice
from homeserver.core.identifiers import EventID, ServerName
from homeserver.core.json import encode

MOST_PDUS: Final = 50
"""In one transaction. Spec: "at most 50 PDUs and 100 EDUs"."""


class Pdu(msgspec.Struct, frozen=True):
    """An event as it is sent: one object for all its destinations. `data` is canonical JSON."""

    position: int
    room_nid: int
    event_id: EventID
    data: bytes


class Transaction(msgspec.Struct, frozen=True):
    """A request to one destination; its identifier and its bytes stay what they are while it is tried again.

    `lowest` is the position of the oldest thing in it that must not be lost, `None` if there is nothing such.
    `durable` are the numbers of the durable EDUs in it, by their source.
    """

    txn_id: str
    pdus: tuple[Pdu, ...]
    edus: int
    lowest: int | None
    body: bytes
    durable: tuple[tuple[int, tuple[int, ...]], ...] = ()


def transaction_body(origin: ServerName, now_ts: int, pdus: Iterable[Pdu], edus: Sequence[bytes]) -> bytes:
    """The canonical JSON of a transaction; what is in it is not serialised again."""
    return b'{"edus":%b,"origin":%b,"origin_server_ts":%d,"pdus":%b}' % (
        splice.array(edus),
        encode(origin),
        now_ts,
        splice.array(pdu.data for pdu in pdus),
    )


def lowest_of(positions: Iterable[int | None]) -> int | None:
    """The lowest of those positions that are known."""
    return min((position for position in positions if position is not None), default=None)
