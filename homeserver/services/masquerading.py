"""Whom an application service acts as. Spec: application service API, "Identity assertion"."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core.appservices import Appservice
from homeserver.core.errors import Forbidden, UnknownDevice, UserDeactivated
from homeserver.core.identifiers import DeviceID, UserID, parse_user_id
from homeserver.core.requester import Requester
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import devices, users
from homeserver.storage.users import User

USER: Final = "user_id"
DEVICES: Final = ("device_id", "org.matrix.msc3202.device_id")
"""The parameter, and its name before version 1.17."""


class Assertion(msgspec.Struct, frozen=True):
    """A user that an application service may act as, and the device, None if it names none."""

    appservice: Appservice
    user_id: UserID
    device_id: DeviceID | None


def asserted(appservice: Appservice, parameters: Mapping[str, Sequence[str]]) -> Assertion:
    """Whom the request's parameters name. Errors: InvalidParam; Forbidden for a user of no namespace of it."""
    named = parameters.get(USER)
    user_id = parse_user_id(named[0]) if named else appservice.sender
    if not appservice.may_act_as(user_id):
        raise Forbidden("The application service cannot act as this user: it is in none of its namespaces")
    device_id = next((parameters[name][0] for name in DEVICES if parameters.get(name)), None)
    return Assertion(appservice, user_id, None if device_id is None else DeviceID(device_id))


def requester_of(tx: ReadTransaction, assertion: Assertion) -> tuple[Requester, bool]:
    """Who makes the request, and whether the account is locked.

    The rights of a server administrator go with accounts that are the application service's own: a namespace may
    also cover people. Errors: Forbidden if there is no such account; UserDeactivated; UnknownDevice.
    """
    appservice, user_id, device_id = assertion.appservice, assertion.user_id, assertion.device_id
    user = users.find(tx, user_id)
    if user is None:
        raise Forbidden("The application service has not registered this user")
    if user.is_deactivated:
        raise UserDeactivated
    if device_id is not None and devices.find(tx, user_id, device_id) is None:
        raise UnknownDevice("The user has no such device")
    requester = Requester(
        user_id=user_id,
        device_id=device_id,
        is_guest=user.is_guest,
        is_admin=user.is_admin and _is_own(appservice, user),
        appservice_id=appservice.id,
        token_hash=appservice.token_hash,
        is_suspended=user.is_suspended,
        is_rate_limited=appservice.is_rate_limited and user_id != appservice.sender,
    )
    return requester, user.is_locked


def _is_own(appservice: Appservice, user: User) -> bool:
    return appservice.id == user.appservice_id or appservice.sender == user.user_id
