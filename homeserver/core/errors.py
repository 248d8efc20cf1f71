"""The errors that a client or another server is told about: one class per error code of the specification.

`core.endpoint_errors` has those of single endpoints. Core and services raise them; `http` alone knows which status
belongs to which code. Spec: client-server API, "Standard error response".
"""

# ruff: noqa: N818  the classes are called what their codes are called

from typing import ClassVar


class MatrixError(Exception):
    """A standard error response.

    `errcode` and `message` become `errcode` and `error`; `fields` are the further keys that the code defines,
    such as `retry_after_ms`. `status` is the HTTP status where an endpoint demands another than the code's
    usual one; None otherwise.
    """

    def __init__(self, errcode: str, message: str, *, status: int | None = None, **fields: object) -> None:
        super().__init__(errcode, message)
        self.errcode = errcode
        self.message = message
        self.status = status
        self.fields: dict[str, object] = fields

    def __str__(self) -> str:
        return f"{self.errcode}: {self.message}"


class CodedError(MatrixError):
    """An error whose class fixes its code; without a message it says what its code means."""

    ERRCODE: ClassVar[str]
    MEANING: ClassVar[str]

    def __init__(self, message: str | None = None, *, status: int | None = None, **fields: object) -> None:
        super().__init__(self.ERRCODE, self.MEANING if message is None else message, status=status, **fields)


# Common error codes


class BadJson(CodedError):
    """The JSON is well-formed, but lacks a key or has a value of the wrong shape."""

    ERRCODE = "M_BAD_JSON"
    MEANING = "The JSON has the wrong shape"


class Forbidden(CodedError):
    """The requester may not do this."""

    ERRCODE = "M_FORBIDDEN"
    MEANING = "Forbidden"


class LimitExceeded(CodedError):
    """Too many requests in too short a time; `retry_after_ms` says how long to wait."""

    ERRCODE = "M_LIMIT_EXCEEDED"
    MEANING = "Too many requests"

    def __init__(self, message: str | None = None, *, retry_after_ms: int, status: int | None = None) -> None:
        super().__init__(message, status=status, retry_after_ms=retry_after_ms)


class MissingToken(CodedError):
    """The request has no access token."""

    ERRCODE = "M_MISSING_TOKEN"
    MEANING = "An access token is needed"


class NotFound(CodedError):
    """There is nothing under that name."""

    ERRCODE = "M_NOT_FOUND"
    MEANING = "Not found"


class NotJson(CodedError):
    """The body is not JSON at all."""

    ERRCODE = "M_NOT_JSON"
    MEANING = "The body is not JSON"


class ResourceLimitExceeded(CodedError):
    """The server is at a limit of its own; `admin_contact` is a URI that leads to its operator."""

    ERRCODE = "M_RESOURCE_LIMIT_EXCEEDED"
    MEANING = "The server has reached its limit"

    def __init__(self, message: str | None = None, *, admin_contact: str, status: int | None = None) -> None:
        super().__init__(message, status=status, admin_contact=admin_contact)


class Unknown(CodedError):
    """Something else went wrong."""

    ERRCODE = "M_UNKNOWN"
    MEANING = "Unknown error"


class UnknownDevice(CodedError):
    """The device that an application service names does not belong to the user it acts for."""

    ERRCODE = "M_UNKNOWN_DEVICE"
    MEANING = "The user has no such device"


class UnknownToken(CodedError):
    """The token is not known; with `soft_logout` the client may keep its keys and log in again."""

    ERRCODE = "M_UNKNOWN_TOKEN"
    MEANING = "The token is not known"

    def __init__(
        self, message: str | None = None, *, soft_logout: bool = False, status: int | None = None
    ) -> None:
        super().__init__(message, status=status, soft_logout=soft_logout)


class Unrecognized(CodedError):
    """No such endpoint, or no such method on it."""

    ERRCODE = "M_UNRECOGNIZED"
    MEANING = "Unrecognized request"


class UserLimitExceeded(CodedError):
    """The account is at a limit: `info_uri` tells which, `can_upgrade` whether it can be raised."""

    ERRCODE = "M_USER_LIMIT_EXCEEDED"
    MEANING = "The account has reached its limit"

    def __init__(
        self,
        message: str | None = None,
        *,
        info_uri: str,
        can_upgrade: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(message, status=status, info_uri=info_uri, can_upgrade=can_upgrade)


class UserLocked(CodedError):
    """The account is locked: `soft_logout` is part of the answer, so that clients keep their keys."""

    ERRCODE = "M_USER_LOCKED"
    MEANING = "The account is locked"

    def __init__(self, message: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message, status=status, soft_logout=True)


class UserSuspended(CodedError):
    """The account is suspended and may do only a few things."""

    ERRCODE = "M_USER_SUSPENDED"
    MEANING = "The account is suspended"


# Other error codes


class BadState(CodedError):
    """The change of state makes no sense, such as unbanning who is not banned."""

    ERRCODE = "M_BAD_STATE"
    MEANING = "The state does not allow that change"


class CannotLeaveServerNoticeRoom(CodedError):
    """The server notices room cannot be refused."""

    ERRCODE = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
    MEANING = "The server notices room cannot be left"


class CaptchaInvalid(CodedError):
    """The captcha was not solved."""

    ERRCODE = "M_CAPTCHA_INVALID"
    MEANING = "The captcha was not solved"


class CaptchaNeeded(CodedError):
    """A captcha must be solved first."""

    ERRCODE = "M_CAPTCHA_NEEDED"
    MEANING = "A captcha must be solved"


class Exclusive(CodedError):
    """The name is reserved by an application service, or lies outside those reserved by the one that asks."""

    ERRCODE = "M_EXCLUSIVE"
    MEANING = "Reserved by an application service"


class GuestAccessForbidden(CodedError):
    """Guests may not do this, or not in this room."""

    ERRCODE = "M_GUEST_ACCESS_FORBIDDEN"
    MEANING = "Not open to guests"


class IncompatibleRoomVersion(CodedError):
    """The room is of a version that one of the two sides does not know: `room_version`."""

    ERRCODE = "M_INCOMPATIBLE_ROOM_VERSION"
    MEANING = "The room's version is not supported"

    def __init__(self, message: str | None = None, *, room_version: str, status: int | None = None) -> None:
        super().__init__(message, status=status, room_version=room_version)


class InvalidParam(CodedError):
    """A parameter has a wrong value."""

    ERRCODE = "M_INVALID_PARAM"
    MEANING = "A parameter has a wrong value"


class InvalidRoomState(CodedError):
    """The initial state given to createRoom is not valid."""

    ERRCODE = "M_INVALID_ROOM_STATE"
    MEANING = "The initial state is not valid"


class InvalidUsername(CodedError):
    """No new user can have that name."""

    ERRCODE = "M_INVALID_USERNAME"
    MEANING = "Not a possible user name"


class MissingParam(CodedError):
    """A required parameter is missing."""

    ERRCODE = "M_MISSING_PARAM"
    MEANING = "A parameter is missing"


class RoomInUse(CodedError):
    """The alias given to createRoom is taken."""

    ERRCODE = "M_ROOM_IN_USE"
    MEANING = "The alias is taken"


class ServerNotTrusted(CodedError):
    """The request names a third-party server that this server does not trust."""

    ERRCODE = "M_SERVER_NOT_TRUSTED"
    MEANING = "That server is not trusted"


class ThreepidAuthFailed(CodedError):
    """The third-party identifier could not be authenticated."""

    ERRCODE = "M_THREEPID_AUTH_FAILED"
    MEANING = "The third-party identifier could not be verified"


class ThreepidDenied(CodedError):
    """The server does not permit this third-party identifier."""

    ERRCODE = "M_THREEPID_DENIED"
    MEANING = "The third-party identifier is not permitted"


class ThreepidInUse(CodedError):
    """The third-party identifier belongs to somebody already."""

    ERRCODE = "M_THREEPID_IN_USE"
    MEANING = "The third-party identifier is in use"


class ThreepidMediumNotSupported(CodedError):
    """Third-party identifiers of that medium cannot be added."""

    ERRCODE = "M_THREEPID_MEDIUM_NOT_SUPPORTED"
    MEANING = "Third-party identifiers of that kind are not supported"


class ThreepidNotFound(CodedError):
    """No such third-party identifier."""

    ERRCODE = "M_THREEPID_NOT_FOUND"
    MEANING = "The third-party identifier is not known"


class TooLarge(CodedError):
    """The request, or what it would make, is too large."""

    ERRCODE = "M_TOO_LARGE"
    MEANING = "Too large"


class Unauthorized(CodedError):
    """The request was not correctly authorised, as by a failed login."""

    ERRCODE = "M_UNAUTHORIZED"
    MEANING = "Unauthorized"


class UnsupportedRoomVersion(CodedError):
    """A room cannot be created in that version."""

    ERRCODE = "M_UNSUPPORTED_ROOM_VERSION"
    MEANING = "The room version is not supported"


class UserDeactivated(CodedError):
    """The account has been deactivated."""

    ERRCODE = "M_USER_DEACTIVATED"
    MEANING = "The account has been deactivated"


class UserInUse(CodedError):
    """The user ID is taken."""

    ERRCODE = "M_USER_IN_USE"
    MEANING = "The user ID is taken"
