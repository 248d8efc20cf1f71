"""What is done again and again, beside the requests."""

import msgspec
from twisted.internet.threads import deferToThread

from homeserver.app.services import Services
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.runtime.loops import Loop
from homeserver.storage import client_transactions, federation_transactions

DAY_MS = 24 * 3_600_000

FEDERATION_TRANSACTIONS_MS = 3 * DAY_MS
"""Servers may try for days to get rid of the same transaction."""


class Upkeep(msgspec.Struct, frozen=True):
    """Keeps the database tidy."""

    database: Database
    clock: Clock

    async def prune_transactions(self) -> None:
        """Forget transaction IDs: those of clients after 24 hours, as promised, and later those of servers."""
        now_ts = self.clock.now_ts()
        await self.database.write_soon(client_transactions.prune, before_ts=now_ts - DAY_MS)
        await self.database.write_soon(
            federation_transactions.prune, before_ts=now_ts - FEDERATION_TRANSACTIONS_MS
        )

    async def checkpoint(self) -> None:
        """Fold SQLite's write-ahead log into its file, beside the requests."""
        await deferToThread(self.database.checkpoint)


def loops(services: Services, upkeep: Upkeep) -> list[Loop]:
    """All loops of a server process."""
    found = [
        Loop("typing", 1.0, services.typing.expire),
        Loop("typing-prune", 3600.0, services.typing.prune),
        Loop("presence", 5.0, services.presence.expire),
        Loop("incoming-presence", 10.0, services.incoming_edus.presence.expire),
        Loop("awaited-receipts", 1.0, services.incoming_edus.receipts.settle),
        Loop("awaited-receipts-prune", 3600.0, services.incoming_edus.receipts.prune),
        Loop("remote-device-lists", 1.0, services.following.lists.work),
        Loop("remote-device-lists-failing", 30.0, services.following.lists.look_for_failing),
        Loop("device-lists-prune", 3600.0, services.following.upkeep.prune),
        Loop("incoming-events", 2.0, services.receiving.incoming_events.work),
        Loop("incoming-events-measure", 30.0, services.receiving.inbox.measure),
        Loop("pending-joins", 5.0, services.handshakes.pending_joins.renew),
        Loop("pending-joins-prune", 3600.0, services.handshakes.pending_joins.prune),
        Loop("partial-joins", 1.0, services.receiving.partial_joins.work),
        Loop("partial-join-leases", 5.0, services.receiving.partial_joins.renew),
        Loop("delayed-events", 1.0, services.delayed_events.work),
        Loop("delayed-events-prune", 3600.0, services.delayed_events.prune),
        Loop("sticky-events", 1.0, services.sticky_events.work),
        Loop("sticky-events-expiry", 60.0, services.sticky_events.expire),
        Loop("outbox", 1.0, services.outbox.tick),
        Loop("outbox-leases", 10.0, services.outbox.renew),
        Loop("outbox-retries", 2.0, services.outbox.retry_due),
        Loop("departures", 60.0, services.accounts.finish_departures),
        Loop("guests", 3600.0, services.guest_access.enforce_everywhere),
        Loop("key-backups", 60.0, services.key_backups.purge),
        Loop("room-purge", 60.0, services.room_purge.work),
        Loop("search-index", 1.0, services.search_index.work),
        Loop("user-directory", 1.0, services.user_directory_index.work),
        Loop("sliding-sync", 600.0, services.syncing.sliding_sync.expire),
        Loop("to-device-prune", 6 * 3600.0, services.device_messaging.inboxes.prune),
        Loop("transactions", 600.0, upkeep.prune_transactions),
    ]
    if services.oauth is not None:
        found.append(Loop("oauth-clients", 3600.0, services.oauth.clients.prune))
    if upkeep.database.backend == "sqlite":
        found.append(Loop("checkpoint", 2.0, upkeep.checkpoint))
    return found
