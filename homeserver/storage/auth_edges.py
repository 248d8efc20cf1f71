"""The graph of auth events: how high each state event stands in it, and who cites whom.

See `core.state_resolution.auth_graph` for what the generations are good for.
"""

from collections.abc import Collection, Iterable

import msgspec
from sqlalchemy import bindparam, select

from homeserver.core.identifiers import EventID
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.events import auth_edges, events
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Place(msgspec.Struct, frozen=True):
    """An event's number, and its generation; 0 for one that is no state event, which nobody may cite.

    `status` is as in the row; `None` for an event that is being stored.
    """

    event_nid: int
    generation: int
    status: int | None = None


_e = events.c
INSERT = insert_into(auth_edges, ignore_conflict=True)
PLACES = statement(
    select(_e.event_id, _e.event_nid, _e.generation, _e.status).where(in_list(_e.event_id, "event_ids"))
)
CITED_BY = statement(
    select(_e.event_id)
    .select_from(auth_edges.join(events, _e.event_nid == auth_edges.c.event_nid))
    .where(auth_edges.c.room_nid == bindparam("room_nid"), in_list(auth_edges.c.auth_nid, "auth_nids"))
    .distinct()
)
_start = select(auth_edges.c.auth_nid).where(in_list(auth_edges.c.event_nid, "event_nids"))
_chain = _start.cte("chain", recursive=True)
_chain = _chain.union(
    select(auth_edges.c.auth_nid).select_from(
        auth_edges.join(_chain, auth_edges.c.event_nid == _chain.c.auth_nid)
    )
)
CHAIN = statement(select(_chain.c.auth_nid))


def places(tx: ReadTransaction, event_ids: Collection[EventID]) -> dict[EventID, Place]:
    """Where those of the events stand that are known."""
    if not event_ids:
        return {}
    rows = tx.all(PLACES, event_ids=sorted(event_ids))
    return {
        event_id: Place(event_nid, generation or 0, status)
        for event_id, event_nid, generation, status in rows
    }


def add(tx: WriteTransaction, room_nid: int, event_nid: int, cited: Iterable[Place]) -> None:
    """A new state event cites these."""
    if edges := rows(room_nid, event_nid, cited):
        tx.execute_many(INSERT, edges)


def rows(room_nid: int, event_nid: int, cited: Iterable[Place]) -> list[dict[str, object]]:
    """The parameters of `INSERT` for a state event that cites these."""
    return [{"room_nid": room_nid, "auth_nid": place.event_nid, "event_nid": event_nid} for place in cited]


def generation_above(cited: Collection[Place]) -> int:
    """The generation of an event that cites these."""
    return 1 + max((place.generation for place in cited), default=-1)


def cited_by(tx: ReadTransaction, room_nid: int, auth_nids: Collection[int]) -> list[EventID]:
    """The state events of the room that cite at least one of these."""
    return [row[0] for row in tx.all(CITED_BY, room_nid=room_nid, auth_nids=sorted(auth_nids))]


def chain_of(tx: ReadTransaction, event_nids: Collection[int]) -> set[int]:
    """The auth chain of these state events: all that they cite, and what those cite, and so on.

    An event of `event_nids` is part of it only if another one of them leads to it.
    """
    return {row[0] for row in tx.all(CHAIN, event_nids=sorted(event_nids))}
