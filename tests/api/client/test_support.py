"""Client-server API, `support.yaml`."""

import json

from homeserver.api.client.support import Support
from homeserver.config.sections import Support as SupportSection
from homeserver.config.sections import SupportContact
from homeserver.core.identifiers import UserID
from tests.api.http_harness import Reply, serving


async def ask(section: SupportSection) -> Reply:
    async with serving(Support(section)) as server:
        return await (await server.connect()).get("/.well-known/matrix/support")


async def test_contacts_and_page() -> None:
    contacts = (
        SupportContact(role="m.role.admin", matrix_id=UserID("@admin:x"), email_address="admin@x"),
        SupportContact(role="m.role.security", email_address="security@x"),
    )
    reply = await ask(SupportSection(contacts=contacts, page="https://x/support"))
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "contacts": [
            {"role": "m.role.admin", "matrix_id": "@admin:x", "email_address": "admin@x"},
            {"role": "m.role.security", "email_address": "security@x"},
        ],
        "support_page": "https://x/support",
    }


async def test_only_what_is_configured() -> None:
    assert json.loads((await ask(SupportSection(page="https://x/"))).body) == {"support_page": "https://x/"}
    reply = await ask(SupportSection())
    assert reply.status == 404
    assert json.loads(reply.body)["errcode"] == "M_NOT_FOUND"
