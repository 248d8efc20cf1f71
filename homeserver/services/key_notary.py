"""What this server witnesses about the keys of others.

Spec: server-server API, "Querying Keys Through Another Server".
"""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.server_keys import ServerKeysResponse
from homeserver.database.database import Database
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.services.own_keys import OwnKeys
from homeserver.services.server_keys import ServerKeys
from homeserver.storage import server_keys
from homeserver.storage.server_keys import StoredResponse

MOST_ASKED: Final = 50
"""Servers that are asked themselves for one request; of others there is what is stored."""

MOST_AT_ONCE: Final = 100
"""Servers that are being asked for all requests together. Anybody may make such a request, and name servers that do not
answer: what this process can have going on at the same time is for its users, for the most part."""

MOST_ANSWERED: Final = 200
"""Servers whose keys are given in one answer."""


@attrs.frozen
class KeyNotary:
    """Gives what servers have published, with a signature of this server."""

    database: Database
    clock: Clock
    keys: ServerKeys
    own: OwnKeys
    _witnessed: Cache[tuple[ServerName, int], JsonObject] = attrs.field(factory=lambda: Cache(1_000))
    _asking: set[ServerName] = attrs.field(factory=set, init=False)

    async def query(self, wanted: Mapping[ServerName, int | None]) -> list[JsonObject]:
        """What these servers have published; those of which nothing is known are left out.

        `wanted` says until when the keys should be valid; None: now. Servers that cannot be reached are
        answered for by what they last said.
        """
        now_ts = self.clock.now_ts()
        names = sorted(wanted)[:MOST_ANSWERED]
        others = [name for name in names if name != self.own.server_name]
        stored = await self.database.look_up(server_keys.responses, others)
        stale = [name for name in others if _is_stale(stored.get(name), wanted[name] or now_ts, now_ts)]
        fresh = await self._ask(stale) if stale else {}
        answers = [self.own.response()] if self.own.server_name in wanted else []
        for name in others:
            if name in fresh:
                answers.append(self.own.witness(fresh[name].document))
            elif name in stored:
                answers.append(self._witness(name, stored[name]))
        return answers

    async def _ask(self, names: Sequence[ServerName]) -> Mapping[ServerName, ServerKeysResponse]:
        """What servers themselves say, as far as there are not too many that are being asked."""
        free = MOST_AT_ONCE - len(self._asking)
        new = [name for name in names if name not in self._asking][: max(0, min(free, MOST_ASKED))]
        # Those that are being asked anyway cost no more.
        waited_for = [name for name in names if name in self._asking]
        self._asking.update(new)
        try:
            return await self.keys.ask([*new, *waited_for])
        finally:
            self._asking.difference_update(new)

    def _witness(self, name: ServerName, stored: StoredResponse) -> JsonObject:
        """What is stored of a server, with our signature, which is made once."""
        key = (name, stored.fetched_ts)
        document = self._witnessed.get(key)
        if document is None:
            document = self.own.witness(decode_object(stored.response))
            self._witnessed.put(key, document)
        return document


def _is_stale(stored: StoredResponse | None, until_ts: int, now_ts: int) -> bool:
    """Whether it is time to ask again.

    "Intermediate notary servers should cache a response for half of its lifetime"
    """
    if stored is None or stored.valid_until_ts < until_ts:
        return True
    return now_ts >= (stored.fetched_ts + stored.valid_until_ts) // 2
