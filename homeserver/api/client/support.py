"""Client-server API, `support.yaml`: whom to turn to about this server."""

import msgspec

from homeserver.config.sections import Support as SupportSection
from homeserver.config.sections import SupportContact
from homeserver.core.errors import NotFound
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, endpoint


class Support(msgspec.Struct, frozen=True):
    """Support information, as configured."""

    support: SupportSection

    @endpoint("GET", "/.well-known/matrix/support", auth=Auth.NONE)
    async def get_wellknown_support(self) -> JsonObject:
        """The contacts and the page of the operator."""
        answer: JsonObject = {}
        if self.support.contacts:
            answer["contacts"] = [_contact(contact) for contact in self.support.contacts]
        if self.support.page is not None:
            answer["support_page"] = self.support.page
        if not answer:
            raise NotFound("No server support information available.")
        return answer


def _contact(contact: SupportContact) -> JsonObject:
    document: JsonObject = {"role": contact.role}
    if contact.matrix_id is not None:
        document["matrix_id"] = contact.matrix_id
    if contact.email_address is not None:
        document["email_address"] = contact.email_address
    return document
