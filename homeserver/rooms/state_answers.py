"""A room's state and its auth chain as other servers are given them: stored JSON, never decoded to be sent on."""

from collections.abc import Collection, Iterable

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.identifiers import EventID
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import event_bytes
from homeserver.storage.event_bytes import EventBytes

SHOWN_TO_OUTSIDERS: tuple[StateKey, ...] = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
)
"""What an outsider needs to recognise a room. Spec: client-server API, "Stripped state"."""


class _Citing(msgspec.Struct):
    """What a PDU says of its auth events: IDs, or in old room versions pairs of an ID and hashes."""

    auth_events: list[str | list[str | dict[str, str]]]


_citing = msgspec.json.Decoder(_Citing)


class StateAnswer(msgspec.Struct, frozen=True):
    """The PDUs of a state and of its auth chain, without those that are in the state."""

    state: list[bytes]
    auth_chain: list[bytes]


def state_answer(
    tx: ReadTransaction, room_nid: int, event_nids: Collection[int], also: Iterable[EventID] = ()
) -> StateAnswer:
    """The PDUs of these state events, and the auth chain of them and of the events `also`.

    `also` are themselves part of the chain.
    """
    stated = event_bytes.of_nids(tx, event_nids)
    have = {each.event_id for each in stated}
    wanted = (cited_by(stated) | set(also)) - have
    chain: list[bytes] = []
    while wanted:
        level = event_bytes.of_ids(tx, room_nid, wanted)
        have |= wanted
        chain += (each.pdu for each in level)
        wanted = cited_by(level) - have
    return StateAnswer([each.pdu for each in stated], chain)


def cited_by(pdus: Iterable[EventBytes]) -> set[EventID]:
    """The auth events that these PDUs name."""
    return {
        EventID(str(reference[0] if isinstance(reference, list) else reference))
        for each in pdus
        for reference in _citing.decode(each.pdu).auth_events
    }
