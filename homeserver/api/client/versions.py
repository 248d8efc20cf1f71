"""Client-server API, `versions.yaml`: the versions of the specification."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint

VERSIONS: Final = ("r0.6.1", *(f"v1.{minor}" for minor in range(1, 20)))
"""Old ones included: there are clients that look for one they know, not for the newest."""

UNSTABLE_FEATURES: Final[Mapping[str, bool]] = MappingProxyType(
    {
        "org.matrix.msc3814": True,
        "org.matrix.msc4354": True,
        "org.matrix.simplified_msc3575": True,
    }
)
"""What works here before it is in the specification."""


class VersionsResponse(msgspec.Struct):
    """What the server speaks."""

    versions: tuple[str, ...]
    unstable_features: dict[str, bool]


class Versions(msgspec.Struct, frozen=True):
    """The endpoint that clients ask first."""

    unstable_features: Mapping[str, bool] = UNSTABLE_FEATURES

    @endpoint("GET", "/_matrix/client/versions", auth=Auth.OPTIONAL)
    async def get_versions(self, requester: Requester | None) -> VersionsResponse:
        """The same for everybody."""
        del requester
        return VersionsResponse(VERSIONS, dict(self.unstable_features))
