"""Client-server API, `wellknown.yaml`: where clients find the server."""

import msgspec

from homeserver.config.sections import Rtc
from homeserver.core.errors import NotFound
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, endpoint


class Wellknown(msgspec.Struct, frozen=True):
    """Server discovery; `public_base_url` is `None` if the operator has not configured it, `rtc` as in MSC4143."""

    public_base_url: str | None
    rtc: Rtc

    @endpoint("GET", "/.well-known/matrix/client", auth=Auth.NONE)
    async def get_wellknown(self) -> JsonObject:
        """Where the client-server API is."""
        if self.public_base_url is None:
            raise NotFound("No server discovery information available.")
        found: JsonObject = {"m.homeserver": {"base_url": self.public_base_url}}
        if self.rtc.transports:
            # Where clients have looked for it before there was an endpoint; most do still.
            found["org.matrix.msc4143.rtc_foci"] = [msgspec.to_builtins(each) for each in self.rtc.transports]
        return found
