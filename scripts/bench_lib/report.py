"""The rows of the comparison, and the ways to show them."""

import datetime as dt
import json
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench_lib.measuring import Samples, Side
from bench_lib.options import SENDERS, Options, Scale


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds / 1e-6)} us"


def _size(count: float) -> str:
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if abs(count) >= size:
            return f"{_short(count / size)} {unit}"
    return f"{_short(count)} B"


def _times(factor: float) -> str:
    return f"{_short(factor)} x"


def _rate(count: float) -> str:
    return f"{_short(count)}/s"


def _short(number: float) -> str:
    """Three significant digits, without an exponent."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:,.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One line of the table; `target` bounds the ratio, from below if more is better, else from above."""

    key: str
    label: str
    show: Callable[[float], str]
    target: float | None = None
    more_is_better: bool = False

    @property
    def busy_key(self) -> str:
        """The sample that says how busy the client was meanwhile."""
        return f"{self.key.rsplit('.', 1)[0]}.busy"

    def is_met(self, ratio: float) -> bool | None:
        if self.target is None:
            return None
        return ratio >= self.target if self.more_is_better else ratio <= self.target

    def show_target(self) -> str:
        if self.target is None:
            return ""
        return f"{'>=' if self.more_is_better else '<='} {_short(self.target)}"


def rows(scale: Scale) -> list[Row]:
    """Give all rows in the order of the table."""
    table = [
        Row("start.wall", "start-up, wall clock", _time),
        Row("start.cpu", "start-up, CPU", _time),
        Row("idle.memory", f"idle memory (PSS), {scale.idle_s:.0f} s after start", _size, 0.7),
    ]
    for count in SENDERS:
        name = "1 sender" if count == 1 else f"{count} senders, own rooms"
        table += _send_rows(f"send.{count}", name, 10.0 if count == max(SENDERS) else None)
    table += _send_rows("send.shared", f"{max(SENDERS)} senders, one room", 10.0)
    for count in scale.waiting:
        key, name = f"delivery.{count}", f"{count} waiting clients"
        table += [
            Row(f"{key}.cpu", f"CPU per delivery, {name}", _time, 1 / 15),
            Row(f"{key}.p50", f"send to last client, p50, {name}", _time),
            Row(f"{key}.p99", f"send to last client, p99, {name}", _time, 1 / 10),
        ]
    table.append(Row("polls.memory", f"memory per 1,000 long-polls ({scale.polls:,} open)", _size, 0.5))
    for key, name, target in (
        ("sync.first", f"initial sync, {scale.rooms} rooms, first after start", 1 / 8),
        ("sync.again", f"initial sync, {scale.rooms} rooms, repeated", 1 / 8),
        ("sync.lazy", f"initial sync, {scale.rooms} rooms, lazy members", None),
        ("sync.nothing", "incremental sync, nothing new", 1 / 4),
    ):
        table += [
            Row(f"{key}.cpu", f"{name}, CPU", _time, target),
            Row(f"{key}.wall", f"{name}, wall clock", _time),
        ]
    rooms = f"{scale.list_rooms:,} rooms"
    for key, name in (
        ("sliding.first", f"sliding sync, first answer of {rooms}, first after start"),
        ("sliding.again", f"sliding sync, first answer of {rooms}, repeated"),
        ("sliding.message", f"sliding sync, {rooms}, sending a message and asking"),
        ("sliding.nothing", f"sliding sync, {rooms}, nothing new"),
    ):
        table += [Row(f"{key}.cpu", f"{name}, CPU", _time), Row(f"{key}.wall", f"{name}, wall clock", _time)]
    return [
        *table,
        Row("sync.bytes", "size of the initial sync's answer", _size),
        Row("messages.rate", "/messages, events per second", _rate, 5.0, more_is_better=True),
        Row("messages.cpu", "/messages, CPU per event", _time),
        Row("database.alone", "database, 10,000 messages in a room of 1", _size, 0.4),
        Row("database.crowded", f"database, 10,000 messages in rooms of {scale.members}, unread", _size, 0.4),
        *_finding_rows(scale),
        *_federation_rows(scale),
    ]


def _finding_rows(scale: Scale) -> list[Row]:
    table: list[Row] = []
    for key, name in (
        ("search.recent", f"search in {scale.searched:,} messages, newest first"),
        ("search.rank", f"search in {scale.searched:,} messages, by rank"),
        # Of this only the CPU time compares: Synapse answers no more than a few times a second.
        ("hierarchy", f"hierarchy of a space of {scale.space_rooms} rooms"),
        ("crowd", f"a message to {scale.crowd:,} members of the server, push rules included"),
        ("keys.query", f"/keys/query of {scale.keyed_users:,} users with 3 devices each"),
        ("keys.upload", "/keys/upload of 50 one-time keys"),
        ("keys.to_device", f"a message to each of {scale.keyed_users:,} devices"),
    ):
        table += [Row(f"{key}.cpu", f"{name}, CPU", _time), Row(f"{key}.wall", f"{name}, wall clock", _time)]
    name = f"{scale.keyed_users:,} waiting clients hear of a new device"
    return [
        *table,
        Row("keys.told.cpu", f"{name}, CPU of each", _time),
        Row("keys.told.p50", f"{name}, p50 of the last", _time),
        Row("keys.told.p99", f"{name}, p99 of the last", _time),
    ]


def _federation_rows(scale: Scale) -> list[Row]:
    members = f"{scale.joined_members:,} members"
    return [
        Row("receive.single.cpu", "CPU per PDU received, one per transaction", _time, 1 / 8),
        Row("receive.batch.cpu", "CPU per PDU received, 50 per transaction", _time, 1 / 8),
        Row(
            "outgoing.one.cpu", "CPU per outgoing PDU, to 1 server (without the sending itself)", _time, 1 / 8
        ),
        Row(
            "outgoing.many.cpu",
            "CPU per outgoing PDU, to 100 servers (without the sending itself)",
            _time,
            1 / 8,
        ),
        Row("outgoing.factor", "to 100 servers: times the CPU of 1", _times),
        Row("outgoing.0.cpu", "CPU per message sent, room with no other server", _time),
        Row("outgoing.1.cpu", "CPU per message sent, room with 1 other server", _time, 1 / 8),
        Row("outgoing.100.cpu", "CPU per message sent, room with 100 other servers", _time),
        Row(
            "join.cpu",
            f"CPU of joining a room of {members} on another server, late work and all",
            _time,
            1 / 6,
        ),
        Row("join.answer", "until the client has its answer", _time),
    ]


def _send_rows(key: str, name: str, rate_target: float | None) -> list[Row]:
    return [
        Row(f"{key}.rate", f"sends per second, {name}", _rate, rate_target, more_is_better=True),
        Row(f"{key}.cpu", f"CPU per send, {name}", _time, 1 / 10),
        Row(f"{key}.p99", f"time of a send, p99, {name}", _time),
    ]


@dataclass(frozen=True)
class Line:
    """A row with what was measured: medians, the ratio's median and range over the rounds."""

    row: Row
    values: dict[str, float]
    ratio: float | None
    low: float | None
    high: float | None
    busy: dict[str, float]

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.row.is_met(self.ratio)


def lines(scale: Scale, samples: dict[str, list[Samples]]) -> list[Line]:
    """Put the samples, given per side in order of the rounds, into the rows that have any."""
    return [line for row in rows(scale) if (line := _line(row, samples)) is not None]


def _line(row: Row, samples: dict[str, list[Samples]]) -> Line | None:
    found = {
        name: [sample[row.key] for sample in taken if row.key in sample] for name, taken in samples.items()
    }
    values = {name: median(numbers) for name, numbers in found.items() if numbers}
    if not values:
        return None
    ratios = (
        [ours / peer for ours, peer in zip(*found.values(), strict=False) if peer] if len(values) == 2 else []
    )
    busy = {
        name: median(shares)
        for name, taken in samples.items()
        if (shares := [sample[row.busy_key] for sample in taken if row.busy_key in sample])
    }
    if not ratios:
        return Line(row, values, None, None, None, busy)
    return Line(row, values, median(ratios), min(ratios), max(ratios), busy)


def _cells(line: Line, names: Sequence[str]) -> list[str]:
    row = line.row
    ratio = spread = ""
    if line.ratio is not None and line.low is not None and line.high is not None:
        ratio, spread = _short(line.ratio), f"{_short(line.low)} - {_short(line.high)}"
    met = {True: "yes", False: "NO", None: ""}[line.met]
    busy = (
        " / ".join(f"{line.busy[name]:.0%}" if name in line.busy else "-" for name in names)
        if line.busy
        else ""
    )
    values = [row.show(line.values[name]) if name in line.values else "-" for name in names]
    return [row.label, *values, ratio, spread, row.show_target(), met, busy]


def _header(names: Sequence[str]) -> list[str]:
    return ["", *names, "ratio", "range", "target", "met", "client busy"]


def plain_table(table: Sequence[Line], names: Sequence[str]) -> str:
    """Draw the table for a terminal."""
    cells = [_header(names), *(_cells(line, names) for line in table)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    drawn = []
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        drawn.append("  ".join([first, *rest]).rstrip())
    return "\n".join([drawn[0], "-" * max(len(line) for line in drawn), *drawn[1:]])


def markdown_table(table: Sequence[Line], names: Sequence[str]) -> str:
    """Write the table for the README."""
    header = _header(names)
    rule = ["---", *("---:" for _ in header[1:])]
    body = [_cells(line, names) for line in table]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *body])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def facts(options: Options, sides: Sequence[Side], database: str) -> list[str]:
    """Say where, when and how the figures came about, and what they mean."""
    scale = options.scale
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = dt.datetime.now(tz=dt.UTC).date()
    versions = "; ".join(f"{side.software.name}: {side.software.version}" for side in sides)
    rounds = f"{options.rounds} round{'s' if options.rounds > 1 else ''}"
    servers = "the server and of PostgreSQL" if options.postgresql else "the server"
    notes = [
        f"{today}, {scale.name} loads, {rounds}, {database}; {versions}.",
        f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Linux {platform.release()}.",
        "Ratio: ours divided by Synapse's, median over the rounds, with its range.",
        "The sides take turns; while one is measured, the other is frozen.",
        f"CPU: user and system time of all processes of {servers}, until they are quiet again.",
        "Memory: PSS of the server's processes. Client busy: the load client's share of one core.",
        "Both databases have fresh statistics (ANALYZE); SQLite gathers none by itself.",
        "Rate limits are off in both, presence is off in Synapse, clients sync with set_presence=offline.",
    ]
    for side in sides:
        if side.measured_s:
            share = side.foreign_s / side.measured_s / (os.cpu_count() or 1)
            notes.append(
                f"Other processes took {share:.0%} of the machine while {side.software.name} was measured."
            )
    return notes


def write_json(
    file: Path, notes: Sequence[str], samples: dict[str, list[Samples]], table: Sequence[Line]
) -> None:
    """Write everything to a file; times are in seconds, sizes in bytes."""
    summary = {
        line.row.key: {
            "label": line.row.label,
            "values": line.values,
            "ratio": line.ratio,
            "ratio_range": [line.low, line.high],
            "target": line.row.target,
            "met": line.met,
        }
        for line in table
    }
    file.write_text(
        json.dumps({"notes": notes, "rows": summary, "samples": samples}, indent=2), encoding="utf-8"
    )
