"""The services by which users come into rooms of other servers, and those of other servers into rooms here."""

import msgspec
from twisted.internet.interfaces import IReactorTime

from homeserver.app.receiving import Receiving
from homeserver.clients.federation import FederationClient
from homeserver.database.database import Database
from homeserver.rooms.draft import Signer
from homeserver.runtime.clock import Clock
from homeserver.runtime.worker_pool import WorkerPool
from homeserver.services.federation_handshakes import FederationHandshakes
from homeserver.services.federation_invites import FederationInvites
from homeserver.services.federation_joins import FederationJoins
from homeserver.services.federation_knocks import FederationKnocks
from homeserver.services.federation_leaves import FederationLeaves
from homeserver.services.identity_servers import IdentityServers
from homeserver.services.invite_states import InviteStates
from homeserver.services.pending_joins import PendingJoins
from homeserver.services.remote_aliases import RemoteAliases
from homeserver.services.remote_handshakes import RemoteHandshakes
from homeserver.services.remote_invites import RemoteInvites
from homeserver.services.remote_joins import RemoteJoins
from homeserver.services.remote_knocks import RemoteKnocks
from homeserver.services.remote_leaves import RemoteLeaves
from homeserver.services.remote_memberships import RemoteMemberships
from homeserver.services.third_party_invites import ThirdPartyInvites


class Handshakes(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of the handshakes."""

    joins: FederationJoins
    leaves: FederationLeaves
    knocks: FederationKnocks
    invites: FederationInvites
    third_party_invites: ThirdPartyInvites
    remote_aliases: RemoteAliases
    remote_memberships: RemoteMemberships
    pending_joins: PendingJoins


def make_handshakes(
    database: Database,
    clock: Clock,
    signer: Signer,
    workers: WorkerPool,
    client: FederationClient,
    receiving: Receiving,
    reactor: IReactorTime,
    identity_servers: IdentityServers,
) -> Handshakes:
    """Wire both sides together."""
    checks, receiver = receiving.checks, receiving.receiver
    resident = FederationHandshakes(database, clock, signer, checks, receiver)
    remote = RemoteHandshakes(clock, signer, client)
    states = InviteStates(checks)
    invites = RemoteInvites(database, clock, signer, client, checks, receiver)
    pending_joins = PendingJoins(database, clock, reactor, signer.server_name, receiving.incoming_events.wake)
    return Handshakes(
        joins=FederationJoins(resident),
        leaves=FederationLeaves(resident),
        knocks=FederationKnocks(resident),
        invites=FederationInvites(database, clock, signer, checks, states),
        third_party_invites=ThirdPartyInvites(
            database, clock, signer, client, invites, receiver, identity_servers
        ),
        remote_aliases=RemoteAliases(client),
        remote_memberships=RemoteMemberships(
            database,
            RemoteJoins(database, remote, checks, receiver, workers, pending_joins, receiving.partial_joins),
            RemoteKnocks(database, remote, states),
            RemoteLeaves(database, remote),
            invites,
        ),
        pending_joins=pending_joins,
    )
