"""Messages to devices of users of other servers. Spec: server-server API, "Send-to-device messaging"."""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.database.kinds import Kind
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.federation_outbox.edus import DurableEdu
from homeserver.storage import outbound_to_device

MOST_BYTES: Final = 2 * 1024 * 1024
"""In one transaction, beside its PDUs."""


class OutboundToDevice(msgspec.Struct, frozen=True):
    """As `EduSource`: each EDU is sent in its turn, none in place of another."""

    kind: Kind = Kind.TO_DEVICE

    def concerned(self, tx: ReadTransaction, *, after: int, upto: int) -> Collection[ServerName]:
        """As `EduSource.concerned`."""
        return outbound_to_device.concerned(tx, after=after, upto=upto)

    def waiting(self, tx: ReadTransaction, server_name: ServerName, *, most: int) -> Sequence[DurableEdu]:
        """As `EduSource.waiting`."""
        found = outbound_to_device.waiting(tx, server_name, most=most, most_bytes=MOST_BYTES)
        return [DurableEdu(position, edu) for position, edu in found]

    def delivered(self, tx: WriteTransaction, server_name: ServerName, numbers: Collection[int]) -> None:
        """As `EduSource.delivered`."""
        outbound_to_device.delivered(tx, server_name, numbers)
