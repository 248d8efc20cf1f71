"""Filters that clients upload and refer to later. Spec: client-server API, "Filtering"."""

import hashlib
from base64 import urlsafe_b64encode

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.filters import parse_filter
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, canonical
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.services.account_data import check_owner
from homeserver.storage import filters


class Filters(msgspec.Struct, frozen=True):
    """Keeps filters."""

    database: Database

    async def add(self, requester: Requester, user_id: UserID, filter: JsonObject) -> str:
        """Keep a filter; its ID, which is the same for the same filter.

        Errors: Forbidden for another user; BadJson if it is none; TooLarge.
        """
        check_owner(requester, user_id)
        encoded = canonical(filter)
        parse_filter(encoded)
        filter_id = id_of(encoded)
        if await self.database.read(filters.of, user_id, filter_id) is None:
            await self.database.write(filters.add, user_id, filter_id, encoded)
        return filter_id

    async def get(self, requester: Requester, user_id: UserID, filter_id: str) -> bytes:
        """A filter that was kept, as JSON.

        Errors: Forbidden for another user; NotFound.
        """
        check_owner(requester, user_id)
        found = await self.database.read(filters.of, user_id, filter_id)
        if found is None:
            raise NotFound("Unknown filter")
        return found


def id_of(filter: bytes) -> str:
    """The ID of a filter, given its canonical JSON: it never looks like JSON itself, nor like a number."""
    digest = hashlib.sha256(filter).digest()
    return "f" + urlsafe_b64encode(digest[:15]).decode()
