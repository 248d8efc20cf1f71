"""Taking the EDUs of a transaction, each kind where it belongs."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.database.errors import StorageUnavailable

MOST_EDUS: Final = 100
"""As the specification limits a transaction."""

_log = structlog.get_logger(__name__)


class EduKind(Protocol):
    """What takes the EDUs of one type."""

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        """Take the contents of EDUs of a server, in their order.

        What is malformed, or not for that server to say, is left out, and so is only that. Whatever is to survive
        is stored when this is done. Errors: StorageUnavailable.
        """
        ...


class FederationEdus(msgspec.Struct, frozen=True):
    """Hands EDUs to what takes their type."""

    kinds: Mapping[str, EduKind]

    async def receive(self, origin: ServerName, edus: Sequence[JsonObject]) -> None:
        """Take the EDUs of one transaction of an authenticated server. No EDU keeps another one from being taken.

        EDUs of unknown types and those beyond the limit are ignored.
        Errors: StorageUnavailable; then the transaction must not be acknowledged, and may be repeated.
        """
        contents: dict[str, list[object]] = {}
        for edu in edus[:MOST_EDUS]:
            edu_type = edu.get("edu_type")
            if isinstance(edu_type, str) and edu_type in self.kinds:
                contents.setdefault(edu_type, []).append(edu.get("content"))
        unavailable: StorageUnavailable | None = None
        for edu_type, of_type in contents.items():
            try:
                await self.kinds[edu_type].receive(origin, of_type)
            except StorageUnavailable as error:
                unavailable = error
            except Exception:  # noqa: BLE001 - logged with its traceback
                # It would fail again, and the other server would repeat the transaction for ever.
                _log.exception("EDUs could not be taken", edu_type=edu_type, origin=origin)
        if unavailable is not None:
            raise unavailable
