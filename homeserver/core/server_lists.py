"""Which servers this one deals with at all, by its operator's lists."""

from collections.abc import Iterable
from typing import Self

import msgspec

from homeserver.core.globs import GlobSet
from homeserver.core.identifiers import ServerName


class ServerLists(msgspec.Struct, frozen=True):
    """Patterns of server names with `*` and `?`; letter case does not matter, a port is a part of the name.

    `allow` is None if all servers are allowed that `deny` does not name.
    """

    allow: GlobSet | None
    deny: GlobSet

    @classmethod
    def of(cls, allow: Iterable[str] | None = None, deny: Iterable[str] = ()) -> Self:
        """Compile the lists."""
        return cls(None if allow is None else GlobSet.of(allow), GlobSet.of(deny))

    def allows(self, server_name: ServerName) -> bool:
        """Whether a server is dealt with."""
        if self.deny.matches(server_name):
            return False
        return self.allow is None or self.allow.matches(server_name)
