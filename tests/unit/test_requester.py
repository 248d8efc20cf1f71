"""Who makes a request."""

import pytest

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.requester import Requester


def test_a_requester_is_immutable_and_shows_no_token() -> None:
    requester = Requester(
        user_id=UserID("@alice:example.org"),
        device_id=DeviceID("PHONE"),
        is_guest=False,
        is_admin=False,
        appservice_id=None,
        token_hash=b"0123456789abcdef",
    )
    with pytest.raises(AttributeError):
        requester.is_admin = True  # type: ignore[misc]  # mypy cannot tell
    assert "0123456789abcdef" not in repr(requester)
