"""Client-server API, "Account management": the pages on which people look after their account and their devices.

Apps link here for what they may not do themselves. A link does nothing by itself: each page says what it is about to
do, and whatever cannot be taken back asks for the password once more.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from homeserver.api.browsers import Browsers, Visitor, requester_of, see_other
from homeserver.api.oauth_paths import ACCOUNT, ACCOUNT_EMAIL, LOG_OUT
from homeserver.api.pages import BODY_LIMIT, Pages
from homeserver.api.sign_in import SignIn
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import DeviceID
from homeserver.core.threepids import email_of
from homeserver.http.addresses import rate_limited_address
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.errors import status_of
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.account_care import AccountCare
from homeserver.services.browser_sessions import BrowserUser
from homeserver.services.devices import Device
from homeserver.services.email_validations import TokenRequest

PROFILE: Final = "org.matrix.profile"
DEVICES: Final = "org.matrix.devices_list"
DEVICE: Final = "org.matrix.device_view"
DEVICE_DELETE: Final = "org.matrix.device_delete"
DEACTIVATE: Final = "org.matrix.account_deactivate"
RESET: Final = "org.matrix.cross_signing_reset"
PASSWORD: Final = "password"  # noqa: S105 - the name of a page, which only these pages link to

TEMPLATES: Final[Mapping[str, str]] = {
    "": "account.html",
    PROFILE: "account_profile.html",
    DEVICES: "account_devices.html",
    DEVICE: "account_device.html",
    DEVICE_DELETE: "account_device_delete.html",
    DEACTIVATE: "account_deactivate.html",
    RESET: "account_cross_signing.html",
    PASSWORD: "account_password.html",
}

NEEDS_PASSWORD: Final = frozenset({"add_email", DEVICE_DELETE, DEACTIVATE, RESET, PASSWORD})
"""What who is logged in may do only if they know the password, too."""

OLD_NAMES: Final[Mapping[str, str]] = {
    "profile": PROFILE,
    "sessions_list": DEVICES,
    "org.matrix.sessions_list": DEVICES,
    "session_view": DEVICE,
    "org.matrix.session_view": DEVICE,
    "session_end": DEVICE_DELETE,
    "org.matrix.session_end": DEVICE_DELETE,
}
"""What actions were called before they were in the specification: MSC4191, "Unstable prefixes"."""


class ShownDevice(msgspec.Struct, frozen=True):
    """A device as its owner sees it."""

    device_id: DeviceID
    name: str
    seen: str | None
    ip: str | None
    user_agent: str | None

    @classmethod
    def of(cls, device: Device) -> "ShownDevice":
        """In words."""
        seen = None
        if device.last_seen_ts is not None:
            moment = datetime.fromtimestamp(device.last_seen_ts / 1000, UTC)
            seen = f"{moment:%Y-%m-%d %H:%M} UTC"
        name = device.display_name or device.device_id
        return cls(device.device_id, name, seen, device.last_seen_ip, device.last_seen_user_agent)


class AccountManagement(msgspec.Struct, frozen=True):
    """The pages."""

    care: AccountCare
    browsers: Browsers
    pages: Pages
    sign_in: SignIn

    @endpoint("GET", ACCOUNT, auth=Auth.NONE, limit=Limit.UPDATES)
    async def account_management(self, request: Request) -> Response:
        """Show the page of an action."""
        try:
            given = request.parameters()
        except InvalidParam as error:
            return self.pages.error(error)
        visitor = await self.browsers.visitor(request)
        if visitor.user is None:
            return self.sign_in.page(visitor, "account", request.query)
        query: dict[str, str] = {name: given[name][0] for name in ("action", "device_id") if name in given}
        try:
            return await self._page(visitor, visitor.user, query)
        except MatrixError as error:
            return self.pages.error(error)

    @endpoint("POST", ACCOUNT, auth=Auth.NONE, limit=Limit.LOGIN, body_limit=BODY_LIMIT)
    async def account_management_submit(self, request: Request) -> Response:
        """Do what a page offers."""
        visitor = await self.browsers.visitor(request)
        if visitor.user is None:
            return self.sign_in.page(visitor, "account", "")
        try:
            form = self.browsers.form(request, visitor)
        except MatrixError as error:
            return self.pages.error(error)
        address = rate_limited_address(request.client_ip)
        try:
            return await self._do(visitor.user, form, address)
        except MatrixError as error:
            return await self._again(visitor, visitor.user, form, error)

    @endpoint("POST", ACCOUNT_EMAIL, auth=Auth.NONE, limit=Limit.VALIDATION, body_limit=BODY_LIMIT)
    async def account_email(self, request: Request) -> Response:
        """Have a mail sent to an address that is to be added."""
        visitor = await self.browsers.visitor(request)
        if visitor.user is None:
            return self.sign_in.page(visitor, "account", "")
        try:
            form = self.browsers.form(request, visitor)
        except MatrixError as error:
            return self.pages.error(error)
        secret, email = secrets.token_urlsafe(32), form.get("email", "").strip()
        wanted = TokenRequest(secret, email, send_attempt=1, next_link=None)
        try:
            sid = await self.care.request_email(visitor.user.user_id, wanted)
        except MatrixError as error:
            return await self._again(visitor, visitor.user, {"action": PROFILE}, error)
        sent = {"sid": sid, "client_secret": secret, "email": email}
        return self._show("account_email.html", visitor, visitor.user, sent)

    async def _page(
        self,
        visitor: Visitor,
        user: BrowserUser,
        query: Mapping[str, str],
        *,
        failure: MatrixError | None = None,
    ) -> Response:
        """Errors: NotFound."""
        named = query.get("action", "")
        action = OLD_NAMES.get(named, named)
        values: dict[str, object] = {}
        if action in (DEVICE, DEVICE_DELETE) and not query.get("device_id"):
            action = DEVICES
        if action not in TEMPLATES:
            raise NotFound("This server knows no such page of accounts")
        if action == PROFILE:
            values["profile"] = await self.care.profile_of(user.user_id)
        elif action == DEVICES:
            values["devices"] = [ShownDevice.of(each) for each in await self.care.devices_of(user.user_id)]
        elif action in (DEVICE, DEVICE_DELETE):
            device = await self.care.device_of(user.user_id, DeviceID(query["device_id"]))
            values["device"] = ShownDevice.of(device)
        return self._show(TEMPLATES[action], visitor, user, values, failure)

    async def _do(self, user: BrowserUser, form: Mapping[str, str], address: str) -> Response:
        """Errors: those of the services."""
        action, device_id = form.get("action", ""), DeviceID(form.get("device_id", ""))
        if action in NEEDS_PASSWORD:
            await self._check_password(user, form, address)
        match action:
            case "set_display_name":
                await self.care.set_display_name(requester_of(user), form.get("display_name", "").strip())
                shown = PROFILE
            case "remove_email":
                await self.care.remove_email(requester_of(user), email_of(form.get("email", "")))
                shown = PROFILE
            case "add_email":
                sid, secret = form.get("sid", ""), form.get("client_secret", "")
                await self.care.add_email(requester_of(user), sid, secret)
                shown = PROFILE
            case "rename_device":
                name = form.get("display_name", "").strip()
                await self.care.rename_device(requester_of(user), device_id, name)
                shown = DEVICES
            case "org.matrix.device_delete":
                await self.care.remove_device(user.user_id, device_id)
                shown = DEVICES
            case "org.matrix.account_deactivate":
                await self.care.deactivate(user.user_id, erase="erase" in form)
                return self.pages.message("Your account is closed", "You can close this page.")
            case "org.matrix.cross_signing_reset":
                await self.care.allow_reset(user.user_id)
                return self.pages.message("It is allowed", "Go back to your app now, and go on there.")
            case "password":
                return await self._set_password(user, form)
            case _:
                raise NotFound("This server can do no such thing to accounts")
        return see_other(self.pages.to(ACCOUNT, f"action={shown}"))

    async def _set_password(self, user: BrowserUser, form: Mapping[str, str]) -> Response:
        """Errors: InvalidParam, WeakPassword."""
        if form.get("new_password") != form.get("again"):
            raise InvalidParam("The two new passwords are not the same")
        await self.care.set_password(
            user.user_id, form.get("new_password", ""), logout_devices="logout_devices" in form
        )
        # Nobody stays logged in by the old one, this browser apart.
        secret = await self.browsers.sessions.open(user.user_id)
        return self.browsers.with_secret(see_other(self.pages.to(ACCOUNT)), secret)

    async def _check_password(self, user: BrowserUser, form: Mapping[str, str], address: str) -> None:
        """Errors: Forbidden, LimitExceeded."""
        password = form.get("password", "")
        if not await self.browsers.sessions.is_password(user.user_id, password, address=address):
            raise Forbidden("The password is wrong")

    async def _again(
        self, visitor: Visitor, user: BrowserUser, form: Mapping[str, str], failure: MatrixError
    ) -> Response:
        """The page that a form stands on once more, with what is wrong."""
        action = form.get("action", "")
        if action == "add_email":
            fields = {name: form.get(name, "") for name in ("sid", "client_secret", "email")}
            return self._show("account_email.html", visitor, user, fields, failure)
        stands_on = {"set_display_name": PROFILE, "remove_email": PROFILE, "rename_device": DEVICE}
        query = {**form, "action": stands_on.get(action, action)}
        try:
            return await self._page(visitor, user, query, failure=failure)
        except MatrixError:
            return self.pages.error(failure)

    def _show(
        self,
        template: str,
        visitor: Visitor,
        user: BrowserUser,
        values: Mapping[str, object],
        failure: MatrixError | None = None,
    ) -> Response:
        shown = {
            "error": None if failure is None else failure.message,
            "user_id": user.user_id,
            "form_token": visitor.form_token,
            "account": self.pages.to(ACCOUNT),
            "account_email": self.pages.to(ACCOUNT_EMAIL),
            "log_out": self.pages.to(LOG_OUT.replace("{then}", "account")),
            "can_mail": self.care.can_mail,
            **values,
        }
        return self.pages.show_with(template, shown, status=200 if failure is None else status_of(failure))
