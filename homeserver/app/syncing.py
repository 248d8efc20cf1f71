"""All that tells clients what is new: `/sync`, its streams, sliding sync, and the old event stream."""

import msgspec

from homeserver.clients.reactor import ReactorForClients
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.backfill import Backfill
from homeserver.services.event_stream import EventStream
from homeserver.services.presence import Presence
from homeserver.services.sliding_sync.service import SlidingSync
from homeserver.services.sync.filters import SyncFilters
from homeserver.services.sync.follower import Follower
from homeserver.services.sync.from_tail import FromTail, Renderings
from homeserver.services.sync.lazy_members import LazyMembers
from homeserver.services.sync.listening import Listening
from homeserver.services.sync.open_polls import OpenPolls
from homeserver.services.sync.remembered import Remembered
from homeserver.services.sync.service import Sync
from homeserver.services.sync.streams import Streams
from homeserver.services.sync.to_device import Inboxes
from homeserver.services.sync.waiters import Waiters


class Syncing(msgspec.Struct, frozen=True):
    """Its services. `follower` reads the stream for all of them, `waiters` are the requests that wait."""

    follower: Follower
    waiters: Waiters
    sync: Sync
    sliding_sync: SlidingSync
    filters: SyncFilters
    streams: Streams
    open_polls: OpenPolls
    event_stream: EventStream


def make_syncing(
    database: Database, clock: Clock, reactor: ReactorForClients, presence: Presence, backfill: Backfill
) -> Syncing:
    """Wire them together."""
    waiters = Waiters()
    remembered = Remembered()
    follower = Follower(database, clock, reactor, waiters, remembered)
    listening = Listening(database, clock, reactor, waiters, follower, remembered)
    inboxes = Inboxes(database, follower)
    from_tail = FromTail(follower, remembered, Renderings())
    sync = Sync(database, clock, listening, from_tail, LazyMembers(), inboxes)
    return Syncing(
        follower,
        waiters,
        sync,
        SlidingSync(database, clock, listening, LazyMembers(), inboxes),
        SyncFilters(database),
        Streams(sync, presence, reactor),
        OpenPolls(),
        EventStream(database, clock, reactor, waiters, backfill),
    )
