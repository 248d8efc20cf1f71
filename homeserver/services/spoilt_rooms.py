"""Rooms of which something cannot be read, whatever a row of theirs holds: the others of an answer do not suffer."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.errors import Obstacle, StorageUnavailable, TransactionEnded

_log = structlog.get_logger(__name__)


@contextmanager
def left_out(room_id: RoomID, user_id: UserID) -> Iterator[None]:
    """Read something of one room for an answer to the user; if that fails, it is reported, and the answer goes on.

    Errors: what is not the room's fault (the database is away, the transaction has ended, or is to be run again).
    """
    try:
        yield
    except (StorageUnavailable, TransactionEnded, Obstacle):
        raise
    except Exception:  # noqa: BLE001 - logged with its traceback; nobody can say in which way a row may be spoilt
        _log.exception("a room is left out of an answer", room=room_id, user=user_id)
