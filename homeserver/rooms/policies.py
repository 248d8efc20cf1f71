"""Policy servers of rooms, inside transactions. Spec: server-server API, "Policy Servers"."""

import attrs

from homeserver.core.errors import TooLarge
from homeserver.core.event import Event
from homeserver.core.event_format import MAX_EVENT_BYTES
from homeserver.core.json import canonical
from homeserver.core.policy_servers import POLICY, PolicyServer, is_asked_about
from homeserver.core.room_versions import RoomVersion
from homeserver.database.errors import Obstacle
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, room_servers, state


@attrs.frozen(slots=False, eq=False)
class SignatureWanted(Obstacle):
    """The room's policy server is to be asked about an event of ours before it can be stored."""

    policy_server: PolicyServer
    event: Event


def in_state(
    tx: ReadTransaction, room_nid: int, state_root: int, version: RoomVersion
) -> PolicyServer | None:
    """The policy server that a room with this current state uses, `None` if it uses none."""
    nid = state.get(tx, state_root, POLICY)
    if nid is None:
        return None
    return named_by(tx, room_nid, events.parsed(tx, [nid], version)[nid])


def named_by(tx: ReadTransaction, room_nid: int, event: Event | None) -> PolicyServer | None:
    """The policy server that a room uses by the `m.room.policy` of its current state, `None` if none."""
    if event is None:
        return None
    policy_server = PolicyServer.of(event.content)
    if policy_server is None or not room_servers.joined(tx, room_nid, policy_server.via):
        return None
    # What is remembered of the event may be what it was before another process redacted it.
    stored = events.of(tx, event.event_id)
    return None if stored is not None and stored.redacted_by is not None else policy_server


def with_signature(
    tx: ReadTransaction, policy_server: PolicyServer, event: Event, data: bytes
) -> tuple[Event, bytes]:
    """A new event of ours and its canonical JSON, both with the policy server's signature where one is needed.

    Errors: SignatureWanted if that has yet to be asked for; TooLarge if the event is too large with it.
    """
    if not is_asked_about(event.type, event.state_key):
        return event, data
    signature: str | None = tx.caches.policy_signatures.get(event.event_id)
    if signature is None:
        raise SignatureWanted(policy_server, event)
    pdu = policy_server.add(event.pdu, signature)
    if not policy_server.recommends(pdu, event.room_version):
        # The room's policy has changed since it was asked for.
        raise SignatureWanted(policy_server, event)
    data = canonical(pdu)
    if len(data) > MAX_EVENT_BYTES:
        raise TooLarge(f"the event is larger than {MAX_EVENT_BYTES} bytes")
    return attrs.evolve(event, pdu=pdu), data
