"""Who makes a request."""

import attrs

from homeserver.core.identifiers import DeviceID, UserID


@attrs.frozen
class Requester:
    """The authenticated user on whose behalf a request runs.

    `device_id` is None for an application service that names no device. `appservice_id` is the ID from the
    registration of the application service that makes the request, None for everybody else. `token_hash`
    identifies the access token without being one. Suspended users may do less. Spec: client-server API,
    "Account suspension". `is_oauth`: the token comes from the OAuth 2.0 API.
    `is_rate_limited` is False for who may ask as often as it likes.
    """

    user_id: UserID
    device_id: DeviceID | None
    is_guest: bool
    is_admin: bool
    appservice_id: str | None
    token_hash: bytes = attrs.field(repr=False)
    is_suspended: bool = False
    is_oauth: bool = False
    is_rate_limited: bool = True
