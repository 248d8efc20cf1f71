"""`homeserver email`."""

from pathlib import Path

from click.testing import CliRunner, Result
from twisted.internet.threads import deferToThread

from homeserver.cli.main import main
from tests.smtp import mail_server


def run(folder: Path, address: str, email: str) -> Result:
    path = folder / "homeserver.yaml"
    path.write_text(f"server_name: example.org\npublic_base_url: https://example.org\n{email}\n")
    return CliRunner().invoke(main, ["email", "test", "--config", str(path), address])


async def test_a_mail_is_sent(tmp_path: Path) -> None:
    async with mail_server() as post:
        keys = f"host: 127.0.0.1, port: {post.port}, sender: matrix@example.org, security: none"
        email = f"email: {{{keys}}}"
        done = await deferToThread(run, tmp_path, "Bob@example.org", email)
        assert (done.exit_code, done.output) == (0, "127.0.0.1 has taken a mail to bob@example.org.\n")
        assert "example.org can send mail" in " ".join(post.take("bob@example.org").get_content().split())
        post.refuses_recipients = True
        refused = await deferToThread(run, tmp_path, "bob@example.org", email)
        assert refused.exit_code == 2
        assert "the mail was not sent: 127.0.0.1: it refuses the recipient: 550" in refused.output


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    missing = run(tmp_path, "bob@example.org", "")
    assert (missing.exit_code, "email: is missing" in missing.output) == (2, True)
    nowhere = "email: {host: 127.0.0.1, port: 1, sender: matrix@example.org, security: none}"
    assert run(tmp_path, "bob", nowhere).exit_code == 2
    unreached = run(tmp_path, "bob@example.org", nowhere)
    assert (unreached.exit_code, "the mail was not sent" in unreached.output) == (2, True)
