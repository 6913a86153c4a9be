"""Damaged files for every reader, and what may come of them: an answer or a BERGError, and nothing else.

python -m tests.fuzz.by_chance [TARGET …] [--inputs N] [--seed S]

A target (see :mod:`tests.fuzz.targets`) is a file's valid contents and a call that reads it. Each input is one of
them, mutated; the call runs with a limit of time and of memory, and with an audit hook that notices code that is run,
programs that are started, sockets, and files that are written outside the target's folder.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from berg_jax.errors import BERGError

_TEMPORARY = tempfile.gettempdir()
SECONDS = 5  # of the processor that one input may take, which a busy or paused machine does not lengthen
STUCK = 1200  # seconds of the clock for a thousand inputs, of which one may wait, such as for a pipe
MEMORY = 1 << 30  # bytes that it may ask for
_FORBIDDEN = (
    "exec",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.kill",
    "os.putenv",
    "pty.spawn",
    "socket",
    "subprocess",
    "pickle.find_class",
    "ctypes.dlopen",
    "marshal",
    "urllib.Request",
    "webbrowser.open",
)
_LIBRARIES = tuple(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))
_WRITING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate")
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
_TEXTS = (
    *(b"0", b"-1", b"1", b"9" * 20, b"1" + b"0" * 12, b"9" * 5000, b"nan", b"1e999", b"-0", b"true", b"null", b"0.5"),
    *(b"[]", b"{}", b'""', b"[" * 3000, b"../../x", b"/dev/zero", b"/etc/passwd", b"\\ud800", b"\xed\xa0\x80", b"\0"),
    *(b"\xff\xfe", b"()", b"O", b"|V0", b"<f8", b"(((", b" " * 500),
)


class Target(NamedTuple):
    """What is mutated: one file, given a folder that holds all the others that it needs.

    ``seeds`` fills the folder and returns valid contents of the file; ``read`` reads the file at its path.
    ``repair``, where there is one, mends what a mutation breaks that would hide the rest from the reader: checksums,
    an archive around the mutated part. ``words`` are inserted now and then.
    """

    name: str
    file: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], Any]
    repair: Callable[[bytes], bytes] | None = None
    words: tuple[bytes, ...] = ()


class Violation(BaseException):
    """Something that reading must never do; a BaseException, so that no reader takes it for damage."""


class Broken(NamedTuple):
    """A fault: what was raised, where, at which input, and its contents."""

    error: str
    place: str
    number: int
    contents: bytes


class Result(NamedTuple):
    """What came of a target's inputs."""

    name: str
    inputs: int
    answers: int
    refusals: int
    faults: list[Broken]
    seconds: float
    memory: int

    def __str__(self) -> str:
        return (
            f"{self.name:<14}{self.inputs:>8}{self.answers:>9}{self.refusals:>9}{len(self.faults):>7}"
            f"{self.seconds:>9.1f}{self.memory / 1e6:>9.0f}"
        )


HEADER = f"{'target':<14}{'inputs':>8}{'answers':>9}{'refused':>9}{'faults':>7}{'seconds':>9}{'MB more':>9}"


class _Watch:
    """What the audit hook looks for, while it looks; hooks cannot be removed."""

    folder: Path | None = None
    seen: str | None = None
    hooked = False


def _audit(event: str, arguments: tuple) -> None:
    folder = _Watch.folder
    if folder is None:
        return
    wrong = event in _FORBIDDEN or event.partition(".")[0] in ("socket", "subprocess")
    if event == "exec":  # unless a module of Python's or of a library is imported late
        file = getattr(arguments[0], "co_filename", "")
        wrong = not file.startswith((sys.prefix, sys.base_prefix, *_LIBRARIES))
    if event == "open":
        path, _, flags = arguments
        inside = not isinstance(path, str) or path.startswith((str(folder), _TEMPORARY, "/dev/null"))
        wrong = bool(flags & 3) and not inside
    elif event in _WRITING:
        wrong = not str(arguments[0]).startswith((str(folder), _TEMPORARY))
        wrong = wrong and not (event == "os.symlink" and str(arguments[1]).startswith(_TEMPORARY))
    if wrong:
        _Watch.seen = f"{event}{arguments!r:.200}"
        raise Violation(_Watch.seen)


def _alarm(signal_number: int, frame: Any) -> None:
    raise Violation(f"more than {SECONDS} s")


@contextlib.contextmanager
def guarded(folder: Path, seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Raise Violation if the block runs code, writes outside the folder, or takes longer or more than it may."""
    if not _Watch.hooked:
        sys.addaudithook(_audit)
        _Watch.hooked = True
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
    handler = signal.signal(signal.SIGPROF, _alarm)
    _Watch.folder, _Watch.seen = folder, None
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    except MemoryError as error:
        raise Violation("asks for too much memory") from error
    except BERGError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                raise Violation("asks for too much memory") from error
            cause = cause.__cause__ or cause.__context__
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        seen, _Watch.folder = _Watch.seen, None
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))
    if seen:
        raise Violation(seen)


def mutate(seeds: Sequence[bytes], chance: random.Random, words: Sequence[bytes] = ()) -> bytes:
    """One of the seeds, changed in one to a few places."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        # Mostly near the beginning, where headers are, or near the end, where zip has its directory.
        end = len(data)
        place = min(int(chance.choice((chance.random(), chance.random() ** 4, 1 - chance.random() ** 4)) * end), end)
        length = min(int(2 ** (chance.random() * 8)), end - place)
        match chance.randrange(10):
            case 0 if place < end:
                data[place] ^= 1 << chance.randrange(8)
            case 1 if place < end:
                data[place] = chance.randrange(256)
            case 2:
                data[place : place + length] = chance.randbytes(length)
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = data[place : place + length] * chance.choice((1, 1, 2, 50))
            case 5:
                other = chance.choice(seeds)
                start = chance.randrange(len(other) + 1)
                data[place : place + length] = other[start : start + length]
            case 6:
                del data[place:]
            case 7:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(_NUMBERS) % 256**size
                data[place : place + size] = number.to_bytes(size, chance.choice(("little", "big")))
            case 8:
                data[place : place + chance.choice((0, 1, length))] = chance.choice((*_TEXTS, *words))
            case 9:  # a number, as text
                digits = [at for at in range(place, min(place + 200, end)) if 48 <= data[at] < 58]
                if digits:
                    stop = digits[0]
                    while stop < end and 48 <= data[stop] < 58:
                        stop += 1
                    data[digits[0] : stop] = chance.choice(_TEXTS)
        if not data:
            break
    return bytes(data[: 1 << 20])


def fuzz(target: Target, inputs: int, seed: int = 0, seconds: float = float("inf")) -> Result:
    """Read so many mutated files, or as many as the seconds allow."""
    chance = random.Random(f"{target.name} {seed}")
    answers = refusals = number = 0
    faults: dict[tuple[str, str], Broken] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)  # numbers that went wrong on the way
        folder = Path(place)
        seeds = target.seeds(folder)
        path = folder / target.file
        path.parent.mkdir(parents=True, exist_ok=True)
        for contents in seeds:  # which are valid; this also imports all that readers import late
            path.write_bytes(contents)
            target.read(path)
            path.unlink()
        peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        while number < inputs and time.monotonic() - began < seconds:
            if number % 1000 == 0:
                faulthandler.dump_traceback_later(STUCK, exit=True)
            contents = mutate(seeds, chance, target.words)
            if target.repair and chance.random() < 0.7:
                with contextlib.suppress(Exception):
                    contents = target.repair(contents)
            path.write_bytes(contents)
            try:
                with guarded(folder):
                    target.read(path)
                answers += 1
            except BERGError as error:
                str(error).encode("utf-8", "backslashreplace")
                refusals += 1
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                key = type(error).__name__, _place(error)
                text = f"{key[0]}: {str(error)[:200]}"
                faults.setdefault(key, Broken(text, key[1], number, contents))
            path.unlink(missing_ok=True)  # which a map of the old file survives
            number += 1
    faulthandler.cancel_dump_traceback_later()
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    return Result(target.name, number, answers, refusals, [*faults.values()], time.monotonic() - began, more)


def _place(error: BaseException) -> str:
    """Where our own code was when it was raised."""
    root = str(Path(__file__).parent.parent.parent)
    frames = traceback.extract_tb(error.__traceback__)
    fuzz = str(Path(__file__).parent)
    own = [f for f in frames if f.filename.startswith(root) and not f.filename.startswith(fuzz)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each target, and exit with 1 if there was a fault."""
    from .targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; by default all")
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop a target after so long")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that broke something")
    options = parser.parse_args(arguments)
    print(HEADER, flush=True)
    broken = 0
    for name in options.targets or TARGETS:
        result = fuzz(TARGETS[name], options.inputs, options.seed, options.seconds)
        print(result, flush=True)
        for index, fault in enumerate(result.faults):
            print(f"    {fault.place}, input {fault.number}: {fault.error}", flush=True)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{name}.{index}").write_bytes(fault.contents)
        broken += len(result.faults)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
