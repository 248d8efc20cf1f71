"""All tables; importing this package fills `metadata`."""

from homeserver.database.tables import (
    account_data,
    accounts,
    delayed_events,
    ephemeral,
    events,
    federation,
    notifications,
    relations,
    reports,
    rooms,
    search,
    server_notices,
    state,
    stream,
    threepids,
    user_directory,
)
from homeserver.database.tables.metadata import metadata

__all__ = [
    "account_data",
    "accounts",
    "delayed_events",
    "ephemeral",
    "events",
    "federation",
    "metadata",
    "notifications",
    "relations",
    "reports",
    "rooms",
    "search",
    "server_notices",
    "state",
    "stream",
    "threepids",
    "user_directory",
]
