"""What receives the events of other servers."""

import msgspec
from twisted.internet.interfaces import IReactorTime

from homeserver.app.trust import Trust
from homeserver.clients.event_source import FederationEventSource
from homeserver.database.database import Database
from homeserver.rooms.draft import Signer
from homeserver.rooms.missing import MissingEvents
from homeserver.rooms.pdu_checks import PduChecks
from homeserver.rooms.receive import Receiver
from homeserver.runtime.clock import Clock
from homeserver.services.awaited_members import AwaitedMembers
from homeserver.services.federation_edus.service import FederationEdus
from homeserver.services.federation_inbox import FederationInbox
from homeserver.services.inbox_measures import InboxMetrics
from homeserver.services.incoming_events import IncomingEvents
from homeserver.services.partial_joins import PartialJoins
from homeserver.services.pdu_intake import PduIntake
from homeserver.services.policy_servers import PolicyServers
from homeserver.services.remote_handshakes import RemoteHandshakes
from homeserver.services.remote_withdrawals import RemoteWithdrawals
from homeserver.services.timely_checks import TimelyChecks


class Receiving(msgspec.Struct, frozen=True):
    """The services that take in events."""

    checks: PduChecks
    missing: MissingEvents
    receiver: Receiver
    incoming_events: IncomingEvents
    awaited_members: AwaitedMembers
    partial_joins: PartialJoins
    inbox: FederationInbox


def make_receiving(
    database: Database,
    clock: Clock,
    reactor: IReactorTime,
    signer: Signer,
    trust: Trust,
    policy_servers: PolicyServers,
    edus: FederationEdus,
    metrics: InboxMetrics,
) -> Receiving:
    """Wire them together."""
    checks = PduChecks(trust.server_keys)
    missing = MissingEvents(database, FederationEventSource(trust.client), checks)
    receiver = Receiver(database, clock, signer.server_name, missing, policy_servers)
    withdrawals = RemoteWithdrawals(database, RemoteHandshakes(clock, signer, trust.client))
    incoming = IncomingEvents(database, clock, signer, receiver, withdrawals)
    awaited = AwaitedMembers(database, clock, reactor)
    partial_joins = PartialJoins(database, clock, signer, missing, awaited, incoming.wake)
    own = signer.server_name
    intake = PduIntake(database, clock, own, TimelyChecks(checks, reactor), incoming.wake)
    inbox = FederationInbox(database, clock, own, intake, edus, incoming.wake, metrics)
    return Receiving(checks, missing, receiver, incoming, awaited, partial_joins, inbox)
