"""Client-server API, "Standard error response": one class per error code."""

import inspect

import pytest

from homeserver.core import endpoint_errors, errors
from homeserver.core.endpoint_errors import BadStatus, WrongRoomKeysVersion
from homeserver.core.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    LimitExceeded,
    MatrixError,
    ResourceLimitExceeded,
    UnknownToken,
    UserLimitExceeded,
    UserLocked,
)

# Every code of the client-server and the server-server API, version 1.19, but M_EXAMPLE_ERROR.
CODES = [
    "M_APPSERVICE_LOGIN_UNSUPPORTED",
    "M_BAD_ALIAS",
    "M_BAD_JSON",
    "M_BAD_STATE",
    "M_BAD_STATUS",
    "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM",
    "M_CANNOT_OVERWRITE_MEDIA",
    "M_CAPTCHA_INVALID",
    "M_CAPTCHA_NEEDED",
    "M_CONNECTION_FAILED",
    "M_CONNECTION_TIMEOUT",
    "M_DUPLICATE_ANNOTATION",
    "M_EXCLUSIVE",
    "M_FORBIDDEN",
    "M_GUEST_ACCESS_FORBIDDEN",
    "M_INCOMPATIBLE_ROOM_VERSION",
    "M_INVALID_PARAM",
    "M_INVALID_ROOM_STATE",
    "M_INVALID_SIGNATURE",
    "M_INVALID_USERNAME",
    "M_INVITE_BLOCKED",
    "M_KEY_TOO_LARGE",
    "M_LIMIT_EXCEEDED",
    "M_MISSING_PARAM",
    "M_MISSING_TOKEN",
    "M_NOT_FOUND",
    "M_NOT_JSON",
    "M_NOT_YET_UPLOADED",
    "M_PROFILE_TOO_LARGE",
    "M_RESOURCE_LIMIT_EXCEEDED",
    "M_ROOM_IN_USE",
    "M_SERVER_NOT_TRUSTED",
    "M_THREEPID_AUTH_FAILED",
    "M_THREEPID_DENIED",
    "M_THREEPID_IN_USE",
    "M_THREEPID_MEDIUM_NOT_SUPPORTED",
    "M_THREEPID_NOT_FOUND",
    "M_TOO_LARGE",
    "M_UNABLE_TO_AUTHORISE_JOIN",
    "M_UNABLE_TO_GRANT_JOIN",
    "M_UNAUTHORIZED",
    "M_UNKNOWN",
    "M_UNKNOWN_DEVICE",
    "M_UNKNOWN_POS",
    "M_UNKNOWN_TOKEN",
    "M_UNRECOGNIZED",
    "M_UNSUPPORTED_ROOM_VERSION",
    "M_URL_NOT_SET",
    "M_USER_DEACTIVATED",
    "M_USER_IN_USE",
    "M_USER_LIMIT_EXCEEDED",
    "M_USER_LOCKED",
    "M_USER_SUSPENDED",
    "M_WEAK_PASSWORD",
    "M_WRONG_ROOM_KEYS_VERSION",
]

CLASSES = {
    cls.ERRCODE: cls
    for module in (errors, endpoint_errors)
    for _, cls in inspect.getmembers(module, inspect.isclass)
    if issubclass(cls, MatrixError) and hasattr(cls, "ERRCODE") and cls.ERRCODE.startswith("M_")
}
"""By their codes; those of proposals are not the specification's yet."""


def test_there_is_a_class_for_every_code() -> None:
    assert sorted(CLASSES) == sorted(CODES)


@pytest.mark.parametrize("errcode", CODES)
def test_a_class_is_called_what_its_code_is_called(errcode: str) -> None:
    words = errcode.removeprefix("M_").lower().split("_")
    assert CLASSES[errcode].__name__ == "".join(word.capitalize() for word in words)


def test_what_an_error_carries() -> None:
    error = Forbidden("not you", status=400, why="because")
    assert (error.errcode, error.message, error.status) == ("M_FORBIDDEN", "not you", 400)
    assert error.fields == {"why": "because"}
    assert str(error) == "M_FORBIDDEN: not you"
    assert isinstance(error, MatrixError)
    assert Forbidden().message


def test_a_code_of_an_extension() -> None:
    error = MatrixError("ORG.EXAMPLE_ODD", "odd", extra=1)
    assert (error.errcode, error.message, error.fields) == ("ORG.EXAMPLE_ODD", "odd", {"extra": 1})


def test_keys_that_codes_define() -> None:
    assert LimitExceeded(retry_after_ms=1500).fields == {"retry_after_ms": 1500}
    assert UnknownToken().fields == {"soft_logout": False}
    assert UnknownToken(soft_logout=True).fields == {"soft_logout": True}
    assert UserLocked().fields == {"soft_logout": True}
    assert IncompatibleRoomVersion(room_version="7").fields == {"room_version": "7"}
    assert ResourceLimitExceeded(admin_contact="mailto:a@b").fields == {"admin_contact": "mailto:a@b"}
    assert UserLimitExceeded(info_uri="https://a/b").fields == {
        "info_uri": "https://a/b",
        "can_upgrade": False,
    }
    assert WrongRoomKeysVersion(current_version="42").fields == {"current_version": "42"}
    ping = BadStatus(remote_status=403, body="no")
    assert ping.fields == {"status": 403, "body": "no"}
    assert ping.status is None
