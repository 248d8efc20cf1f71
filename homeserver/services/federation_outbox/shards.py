"""The shards that this process holds: leases, and how far each shard is."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs
import msgspec

from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.storage import destinations, outbox_shards
from homeserver.storage.destinations import Destination
from homeserver.storage.outbox_shards import Tenure

LEASE_MS: Final = 30_000
"""If a process dies, others take its shards after this time at the latest."""

UNTOLD: Final = 50_000
"""Positions that may pass without anything sent before it is noted how far a shard is."""


class HeldShard(msgspec.Struct):
    """A shard: its position in the database (or about to be there), and up to where this process has read for it.

    `has_sent`: something has been sent since `stored` was noted.
    """

    stored: int
    read_upto: int
    has_sent: bool = False


class Renewal(msgspec.Struct, frozen=True):
    """Which shards are newly held, which were lost to others, which are more than the share: to be given up.

    `behind` are, if there are new ones, all servers that are behind, of whatever shard.
    """

    new: Sequence[int] = ()
    lost: Sequence[int] = ()
    surplus: Sequence[int] = ()
    behind: Sequence[Destination] = ()


@attrs.define
class Shards:
    """Holds shards in the name of `holder`, which no other process ever has."""

    database: Database
    clock: Clock
    holder: str
    held: dict[int, HeldShard] = attrs.field(factory=dict, init=False)

    async def renew(self) -> "Renewal":
        """Keep the leases, and take what is free. Errors: StorageUnavailable."""
        if self.database.backend == "sqlite":
            if self.held:
                return Renewal()  # there is no other process
            tenure, behind = await self.database.write(_take_all, self.holder)
        else:
            now_ts = self.clock.now_ts()
            tenure, behind = await self.database.write_soon(
                _renew, self.holder, frozenset(self.held), now_ts=now_ts, until_ts=now_ts + LEASE_MS
            )
        lost = [number for number in self.held if number not in tenure.held]
        new = [number for number in tenure.held if number not in self.held]
        for number in lost:
            del self.held[number]
        for number in new:
            self.held[number] = HeldShard(tenure.held[number], tenure.held[number])
        surplus = max(0, len(tenure.held) - tenure.share)
        return Renewal(new, lost, sorted(tenure.held, reverse=True)[:surplus], behind)

    def position(self) -> int | None:
        """Up to where all that is held has been read; `None` if nothing is."""
        return min((shard.read_upto for shard in self.held.values()), default=None)

    async def advance(self, limits: Mapping[int, int]) -> None:
        """Note how far the shards are; `limits` says by shard what has not arrived yet.

        Errors: StorageUnavailable.
        """
        positions = {}
        for number, position in self._positions(limits).items():
            shard = self.held[number]
            if position > shard.stored and (shard.has_sent or position > shard.stored + UNTOLD):
                positions[number] = position
                shard.has_sent = False
                # From now on it may be there, whether the write is heard of or not.
                shard.stored = position
        if positions:
            # Should a power cut take it back, some things are sent again.
            await self.database.write_soon(outbox_shards.advance, self.holder, positions)

    async def give_up(self, shards: Collection[int], limits: Mapping[int, int]) -> None:
        """Let others have these shards. Errors: StorageUnavailable."""
        positions = {number: at for number, at in self._positions(limits).items() if number in shards}
        for number in positions:
            del self.held[number]
        await self.database.write(outbox_shards.release, self.holder, positions)

    async def leave(self, limits: Mapping[int, int]) -> None:
        """Let others have everything. Errors: StorageUnavailable."""
        positions = self._positions(limits)
        self.held.clear()
        await self.database.write(outbox_shards.leave, self.holder, positions)

    def _positions(self, limits: Mapping[int, int]) -> dict[int, int]:
        return {
            number: max(shard.stored, min(shard.read_upto, limits.get(number, shard.read_upto + 1) - 1))
            for number, shard in self.held.items()
        }


def _renew(
    tx: WriteTransaction, holder: str, known: frozenset[int], *, now_ts: int, until_ts: int
) -> tuple[Tenure, list[Destination]]:
    tenure = outbox_shards.renew(tx, holder, now_ts=now_ts, until_ts=until_ts)
    return tenure, [] if tenure.held.keys() <= known else destinations.behind(tx)


def _take_all(tx: WriteTransaction, holder: str) -> tuple[Tenure, list[Destination]]:
    return outbox_shards.take_all(tx, holder), destinations.behind(tx)
