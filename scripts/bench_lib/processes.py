"""Processes from the outside: their tree, CPU time, memory, and a child that never outlives this one."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_TIMEOUT_S = 20.0
_PR_SET_PDEATHSIG = 1


def die_with_parent(signal_number: signal.Signals) -> Callable[[], None]:
    """Make a `preexec_fn` that has the child get a signal when this process is gone, even by `kill -9`."""
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)

    return prepare


def _stat(pid: int) -> list[str] | None:
    """Read the fields of /proc/PID/stat from the third on, or `None` when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def parent_of(pid: int) -> int | None:
    """Give the process that started `pid`."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def tree(root: int) -> list[int]:
    """List `root` and all processes below it that are there now."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if (parent := parent_of(int(path.name))) is not None:
            children.setdefault(parent, []).append(int(path.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, []))
    return found


def cpu_seconds(root: int) -> float:
    """CPU time, user and system, used so far by the tree below `root`, with the children it has reaped."""
    used = 0.0
    for pid in tree(root):
        fields = _stat(pid)
        if fields is not None:
            used += _own_cpu_of(pid, fields) + (int(fields[13]) + int(fields[14])) / TICKS_PER_S
    return used


def _own_cpu_of(pid: int, fields: list[str]) -> float:
    """What a process has used itself: by its own clock, which counts nanoseconds, see clock_getcpuclockid(3)."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def own_cpu_seconds() -> float:
    """CPU time used so far by this process."""
    return time.process_time()


def memory_bytes(root: int) -> int:
    """Proportional set size (PSS) of the tree below `root`: shared pages are counted in parts."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def machine_busy_seconds() -> float:
    """Time that all cores together have worked so far, or that the hypervisor has withheld."""
    with Path("/proc/stat").open(encoding="ascii") as file:
        user, nice, system, _idle, _iowait, *interrupts_and_steal = (
            int(field) for field in file.readline().split()[1:9]
        )
    return (user + nice + system + sum(interrupts_and_steal)) / TICKS_PER_S


async def settle(
    cpu: Callable[[], float], *, at_most_s: float, window_s: float = 0.1, windows: int = 3
) -> None:
    """Wait until the CPU time that `cpu` reads (nearly) stands still for some windows: late work is over."""
    deadline = time.monotonic() + at_most_s
    quiet, before = 0, cpu()
    while quiet < windows and time.monotonic() < deadline:
        await asyncio.sleep(window_s)
        now = cpu()
        quiet = quiet + 1 if now - before <= 1.5 / TICKS_PER_S else 0
        before = now


class Child:
    """A child process in its own process group, with its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: dict[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
    ) -> None:
        self.log = log
        self._stop_signal = stop_signal
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                process_group=0,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no threads run here yet
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """Give the exit code, or `None` while the process runs."""
        return self._process.poll()

    def signal_group(self, signal_number: signal.Signals) -> None:
        """Signal the process and all that it started; nothing happens when they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal_number)

    def stop(self) -> None:
        """Ask the process to end, insist after a while, and leave none of its group behind."""
        self.signal_group(signal.SIGCONT)
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.signal_group(signal.SIGKILL)
                self._process.wait()
        self.signal_group(signal.SIGKILL)

    def log_tail(self, lines: int = 25) -> str:
        """Give the last lines that the process wrote."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
