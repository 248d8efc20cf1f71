"""Client-server API, MSC4143: what carries calls."""

import msgspec

from homeserver.config.sections import Rtc, RtcTransport
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint


class TransportsResponse(msgspec.Struct):
    """What calls can be carried by, the preferred first."""

    rtc_transports: tuple[RtcTransport, ...]


class RtcTransports(msgspec.Struct, frozen=True):
    """The endpoint of transports. Spec: MSC4143, "Discovery of transport infrastructure"."""

    rtc: Rtc

    @endpoint(
        "GET",
        "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
        auth=Auth.GUEST_OK,
        limit=Limit.UPDATES,
    )
    async def get_rtc_transports(self, requester: Requester) -> TransportsResponse:
        """The same for everybody who has a token."""
        del requester
        return TransportsResponse(self.rtc.transports)
