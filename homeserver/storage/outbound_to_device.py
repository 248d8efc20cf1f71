"""Messages to devices of users of other servers, as EDUs, until their servers have them."""

from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import BigInteger, bindparam, cast, delete, func, select

from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.topics import OUTBOX
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, insert_rows, rows_parameter, statement
from homeserver.database.tables.to_device import outbound_to_device
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Backlog(msgspec.Struct, frozen=True):
    """How much of one sender waits for a server."""

    edus: int
    bytes: int


_o = outbound_to_device.c
PUT = insert_rows(outbound_to_device, "server_name", "size", "edu")
"""Takes `position` when it is published."""
BACKLOGS = statement(
    select(_o.server_name, func.count(), cast(func.sum(_o.size), BigInteger))
    .where(_o.sender == bindparam("sender"))
    .group_by(_o.server_name)
)
CONCERNED = statement(
    select(_o.server_name)
    .where(_o.position > bindparam("after"), _o.position <= bindparam("upto"))
    .distinct()
)
WAITING = statement(
    select(_o.position, _o.edu, _o.size)
    .where(_o.server_name == bindparam("server_name"))
    .order_by(_o.position)
    .limit(bindparam("most"))
)
DELIVERED = statement(
    delete(outbound_to_device).where(
        _o.server_name == bindparam("server_name"), in_list(_o.position, "positions")
    )
)
OLDEST = statement(
    select(_o.server_name, _o.position)
    .where(_o.created_ts < bindparam("before_ts"))
    .order_by(_o.created_ts)
    .limit(bindparam("most"))
)


def backlogs(tx: ReadTransaction, sender: UserID) -> dict[ServerName, Backlog]:
    """What waits of the sender's messages, by server."""
    return {row[0]: Backlog(row[1], row[2]) for row in tx.all(BACKLOGS, sender=sender)}


def put(
    tx: WriteTransaction, sender: UserID, edus: Mapping[ServerName, Sequence[bytes]], *, now_ts: int
) -> None:
    """Have the EDUs wait for their servers, in their order."""
    for number in range(max(map(len, edus.values()), default=0)):
        layer = [(name, listed[number]) for name, listed in edus.items() if number < len(listed)]
        tx.publish(
            PUT,
            kind=Kind.TO_DEVICE,
            to=[OUTBOX],
            sender=sender,
            created_ts=now_ts,
            rows=rows_parameter([(name, len(edu), edu.decode()) for name, edu in layer]),
        )


def concerned(tx: ReadTransaction, *, after: int, upto: int) -> list[ServerName]:
    """The servers for which something waits that was published with `after < position <= upto`."""
    return [row[0] for row in tx.all(CONCERNED, after=after, upto=upto)]


def waiting(
    tx: ReadTransaction, server_name: ServerName, *, most: int, most_bytes: int
) -> list[tuple[int, bytes]]:
    """The oldest EDUs, with their positions: up to `most`, and up to `most_bytes`, but one at least."""
    found: list[tuple[int, bytes]] = []
    for position, edu, size in tx.all(WAITING, server_name=server_name, most=most):
        most_bytes -= size
        if found and most_bytes < 0:
            break
        found.append((position, edu.encode()))
    return found


def delivered(tx: WriteTransaction, server_name: ServerName, positions: Collection[int]) -> None:
    """The server has these, or will not ever take them."""
    tx.execute(DELIVERED, server_name=server_name, positions=sorted(positions))


def prune(tx: WriteTransaction, *, before_ts: int, most: int) -> dict[ServerName, int]:
    """Drop up to `most` EDUs that have been waiting since before that moment; gives how many, by server."""
    old: dict[ServerName, list[int]] = {}
    for server_name, position in tx.all(OLDEST, before_ts=before_ts, most=most):
        old.setdefault(server_name, []).append(position)
    for server_name, positions in old.items():
        delivered(tx, server_name, positions)
    return {server_name: len(positions) for server_name, positions in old.items()}
