"""Rooms of which something cannot be read, whatever a row of theirs holds: the others of an answer do not suffer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.errors import Obstacle, StorageUnavailable, TransactionEnded

_log = structlog.get_logger(__name__)

_NO_FAULT_OF_ROOMS: Final = (StorageUnavailable, TransactionEnded, Obstacle)


@contextmanager
def left_out(room_id: RoomID, user_id: UserID) -> Iterator[None]:
    """Read something of one room for an answer to the user; if that fails, it is reported, and the answer goes on.

    Errors: what is not the room's fault (the database is away, the transaction has ended, or is to be run again).
    """
    try:
        yield
    except _NO_FAULT_OF_ROOMS:
        raise
    except Exception:  # noqa: BLE001 - logged with its traceback; nobody can say in which way a row may be spoilt
        _log.exception("a room is left out of an answer", room=room_id, user=user_id)


@contextmanager
def read_together(user_id: UserID) -> Iterator[None]:
    """Read something of many rooms at once, to be read of each by itself, and `left_out`, if that fails.

    Errors: as `left_out`.
    """
    try:
        yield
    except _NO_FAULT_OF_ROOMS:
        raise
    except Exception as error:  # noqa: BLE001 - it is met again for the one room, and reported there
        _log.warning("rooms could not be read together", user=user_id, reason=repr(error))
