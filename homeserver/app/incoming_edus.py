"""What takes the EDUs of other servers."""

import msgspec

from homeserver.app.following import Following
from homeserver.app.to_device import DeviceMessaging
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.federation_edus.presence import IncomingPresence
from homeserver.services.federation_edus.receipts import IncomingReceipts
from homeserver.services.federation_edus.service import EduKind, FederationEdus
from homeserver.services.federation_edus.typing import IncomingTyping


class IncomingEdus(msgspec.Struct, frozen=True):
    """Its services. `all` hands each EDU to the one for its kind."""

    all: FederationEdus
    presence: IncomingPresence
    receipts: IncomingReceipts


def make_incoming_edus(
    database: Database,
    clock: Clock,
    following: Following,
    device_messaging: DeviceMessaging,
    *,
    with_presence: bool,
) -> IncomingEdus:
    """Wire them together."""
    presence = IncomingPresence(database, clock, with_presence)
    receipts = IncomingReceipts(database, clock)
    kinds: dict[str, EduKind] = {
        "m.typing": IncomingTyping(database, clock),
        "m.receipt": receipts,
        "m.presence": presence,
        **following.edu_kinds,
        "m.direct_to_device": device_messaging.incoming,
    }
    return IncomingEdus(FederationEdus(kinds), presence, receipts)
