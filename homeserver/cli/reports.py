"""`homeserver reports`: what users have reported. It works on the database, whether the server is running or not."""

from pathlib import Path

import click

from homeserver.cli.databases import moment, with_database
from homeserver.cli.options import config_option
from homeserver.runtime.clock import SystemClock
from homeserver.services.reports import Reports
from homeserver.storage.reports import Report


@click.group
def reports() -> None:
    """See what users have reported."""


@reports.command(name="list")
@config_option
@click.option("--most", default=100, show_default=True, type=click.IntRange(1, 100_000), help="So many.")
def list_(config_path: Path, most: int) -> None:
    """List the reports, the newest first.

    One per line: the time, who reports, the event, the room, the user, the reason, with tabs between; what a report
    is not about is a dash.
    """
    found = with_database(config_path, lambda database: Reports(database, SystemClock()).newest(most=most))
    for report in found:
        click.echo(shown(report))


def shown(report: Report) -> str:
    """One line about a report."""
    about = (report.event_id, report.room_id, report.user_id)
    parts = (moment(report.received_ts), report.reporter, *(each or "-" for each in about), report.reason)
    return "\t".join(harmless(part) for part in parts)


def harmless(text: str) -> str:
    """The text in one line, without what terminals obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))
