"""Server access control lists. Spec: client-server API, `m.room.server_acl`."""

import re
from typing import Self

import attrs

from homeserver.core.globs import GlobSet
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, JsonValue

# The server name's port: nothing else has a colon and digits at the end, as an IPv6 address is in brackets.
_PORT = re.compile(r":[0-9]{1,5}\Z")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@attrs.frozen(slots=True)
class ServerAcl:
    """Which servers may take part in a room. Compiled once for each `m.room.server_acl` event."""

    allows_ip_literals: bool
    _allow: GlobSet
    _deny: GlobSet

    @classmethod
    def of(cls, content: JsonObject) -> Self:
        """Read the content of the event; what is malformed in it counts as absent."""
        return cls(
            # "Defaults to `true` if missing or otherwise not a boolean."
            allows_ip_literals=content.get("allow_ip_literals") is not False,
            allow=_patterns(content.get("allow")),
            deny=_patterns(content.get("deny")),
        )

    def allows(self, server_name: ServerName) -> bool:
        """Whether a server may take part, whatever its port."""
        host = _host(server_name)
        # "If the server name is an IP address literal, and `allow_ip_literals` is present and `false`, deny."
        if not self.allows_ip_literals and _is_ip_literal(host):
            return False
        # "If the server name matches an entry in the `deny` list, deny."
        if self._deny.matches(host):
            return False
        # "If the server name matches an entry in the `allow` list, allow. Otherwise, deny."
        return self._allow.matches(host)


def _patterns(listed: JsonValue) -> GlobSet:
    entries = listed if isinstance(listed, list) else ()
    return GlobSet.of(entry for entry in entries if isinstance(entry, str))


def _host(server_name: ServerName) -> str:
    """The server name without its port; an IPv6 address keeps its brackets."""
    return _PORT.sub("", server_name)


def _is_ip_literal(host: str) -> bool:
    return host.startswith("[") or _IPV4.fullmatch(host) is not None
