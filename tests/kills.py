"""Programs in processes of their own, which are killed or stopped at a stated moment.

A test starts a :class:`Program` and waits until a line is printed, a file is there or any other condition holds.
Where a moment is too short to be met from outside, the program itself arranges it with :func:`at_call`: at the n-th
call of a function it dies, or holds until the test lets it go on. Nothing depends on how fast the machine is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
HELD = "holding at the stated call"


class Program:
    """Python with these arguments, in a process that is gone when the ``with`` block is left, however it is left.

    ``environment`` is added to the test's own; ``patience`` is how many seconds a busy machine may need for anything.
    """

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None, patience: float = 120) -> None:
        self.command = [sys.executable, *map(str, arguments)]
        self.environment = {**os.environ, **(environment or {})}
        self.patience = patience

    def __enter__(self) -> Self:
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)
        self.process.stdin.close()
        self.output.close()

    @property
    def said(self) -> str:
        """What it has printed so far, errors and all."""
        size = os.fstat(self.output.fileno()).st_size
        return os.pread(self.output.fileno(), size, 0).decode()

    def until(self, moment: str | Callable[[], Any]) -> None:
        """Let it run until it has printed this text, or until this condition holds."""
        deadline = time.monotonic() + self.patience
        while not (moment in self.said if isinstance(moment, str) else moment()):
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said}"
            assert time.monotonic() < deadline, f"it never happened: {self.said}"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def go_on(self) -> None:
        """Let it go on from where it holds."""
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self, number: signal.Signals | None = None) -> int:
        """Kill it with this signal, or let it run to its end; its exit status."""
        if number is not None:
            self.send(number)
        return self.process.wait(self.patience)


# What a program does to itself.


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold() -> None:
    """Say so, and wait for the test's :meth:`Program.go_on`."""
    print(HELD, flush=True)
    sys.stdin.readline()


def at_call(
    owner: Any,
    name: str,
    number: int,
    act: Callable[[], None],
    *,
    after: bool = False,
    counts: Callable[..., bool] = lambda *_: True,
) -> None:
    """Act before the n-th call of ``owner``'s function, or after it; ``counts`` says of its arguments which count."""
    function, calls = getattr(owner, name), 0

    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        now = counts(*arguments)
        calls += now
        now = now and calls == number
        if now and not after:
            act()
        result = function(*arguments, **options)
        if now and after:
            act()
        return result

    setattr(owner, name, called)
