"""The errors that single endpoints define; `core.errors` has those that many share.

Spec: client-server API, the pages of these endpoints.
"""

# ruff: noqa: N818  the classes are called what their codes are called

from homeserver.core.errors import CodedError


class AppserviceLoginUnsupported(CodedError):
    """An application service cannot log in this way: the server uses the OAuth 2.0 API."""

    ERRCODE = "M_APPSERVICE_LOGIN_UNSUPPORTED"
    MEANING = "Application services cannot log in"


class BadAlias(CodedError):
    """An alias of `m.room.canonical_alias` does not lead to the room, or is malformed."""

    ERRCODE = "M_BAD_ALIAS"
    MEANING = "The alias does not point to the room"


class BadStatus(CodedError):
    """A pinged application service answered with the HTTP status `remote_status` and the body `body`."""

    ERRCODE = "M_BAD_STATUS"
    MEANING = "The application service answered with an error"

    def __init__(self, message: str | None = None, *, remote_status: int, body: str) -> None:
        super().__init__(message)
        self.fields = {"status": remote_status, "body": body}


class ConflictingUnsubscription(CodedError):
    """The user has unsubscribed from the thread since the event that would have subscribed to it. Spec: MSC4306."""

    ERRCODE = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
    MEANING = "You have unsubscribed from the thread since then"


class CannotOverwriteMedia(CodedError):
    """The media ID already has content."""

    ERRCODE = "M_CANNOT_OVERWRITE_MEDIA"
    MEANING = "The media has been uploaded already"


class ConnectionFailed(CodedError):
    """A pinged application service could not be reached."""

    ERRCODE = "M_CONNECTION_FAILED"
    MEANING = "The application service could not be reached"


class ConnectionTimeout(CodedError):
    """A pinged application service did not answer in time."""

    ERRCODE = "M_CONNECTION_TIMEOUT"
    MEANING = "The application service did not answer in time"


class DuplicateAnnotation(CodedError):
    """The user has sent that annotation of that event before."""

    ERRCODE = "M_DUPLICATE_ANNOTATION"
    MEANING = "That annotation has been sent already"


class InvalidSignature(CodedError):
    """A signature does not verify."""

    ERRCODE = "M_INVALID_SIGNATURE"
    MEANING = "The signature is not valid"


class InviteBlocked(CodedError):
    """The invited user does not want invitations from this sender."""

    ERRCODE = "M_INVITE_BLOCKED"
    MEANING = "The user does not accept this invitation"


class KeyTooLarge(CodedError):
    """The name of a profile field is longer than allowed."""

    ERRCODE = "M_KEY_TOO_LARGE"
    MEANING = "The key is too long"


class NotInThread(CodedError):
    """The event that is to have caused a subscription is not in the thread. Spec: MSC4306."""

    ERRCODE = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"
    MEANING = "The event is not in the thread"


class NotYetUploaded(CodedError):
    """The media ID has been reserved, but nothing has been uploaded yet."""

    ERRCODE = "M_NOT_YET_UPLOADED"
    MEANING = "The media has not been uploaded yet"


class ProfileTooLarge(CodedError):
    """The profile as a whole would grow beyond its limit."""

    ERRCODE = "M_PROFILE_TOO_LARGE"
    MEANING = "The profile is too large"


class UnableToAuthoriseJoin(CodedError):
    """A restricted join can be authorised neither by this server's knowledge nor by its users."""

    ERRCODE = "M_UNABLE_TO_AUTHORISE_JOIN"
    MEANING = "This server cannot tell whether the user may join"


class UnableToGrantJoin(CodedError):
    """A restricted join is fine, but no user of this server has the power to grant it."""

    ERRCODE = "M_UNABLE_TO_GRANT_JOIN"
    MEANING = "This server has nobody who could grant the join"


class UnknownPos(CodedError):
    """The `pos` of a sliding sync was never given to this device, or is too old: the client begins anew."""

    ERRCODE = "M_UNKNOWN_POS"
    MEANING = "This position is not known (any more)"


class UrlNotSet(CodedError):
    """The application service to be pinged has no URL."""

    ERRCODE = "M_URL_NOT_SET"
    MEANING = "The application service has no URL"


class WeakPassword(CodedError):
    """The password does not meet the server's policy."""

    ERRCODE = "M_WEAK_PASSWORD"
    MEANING = "The password is too weak"


class WrongRoomKeysVersion(CodedError):
    """Keys were sent to a key backup that is not the current one; `current_version` is."""

    ERRCODE = "M_WRONG_ROOM_KEYS_VERSION"
    MEANING = "Not the current version of the key backup"

    def __init__(self, message: str | None = None, *, current_version: str) -> None:
        super().__init__(message, current_version=current_version)
