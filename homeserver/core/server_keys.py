"""Keys that servers publish, and for which moments they are valid.

Spec: server-server API, "Retrieving server keys".
"""

import attrs

from homeserver.core.identifiers import ServerName


@attrs.frozen
class WantedKey:
    """A key that is needed to check a signature.

    `valid_at_ts` is the moment for which it must be valid; None: any (room versions 1 to 4).
    """

    server_name: ServerName
    key_id: str
    valid_at_ts: int | None
