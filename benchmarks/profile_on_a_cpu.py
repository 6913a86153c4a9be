"""Profile of one benchmark case on a Linux CPU, by kind of work and by thread, sampled by perf.

    python benchmarks/profile_on_a_cpu.py ROI-gradient [--seconds 20] [--berg-dir DIR]

It needs ``perf`` (Debian: ``apt-get install linux-perf``). The case is compiled and run once before perf starts to
sample.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from berg_jax.experiments.benchmarks.cases import CASES, Inputs
from berg_jax.experiments.benchmarks.speed import published_size_folder
from berg_jax.subject import Subject

_KINDS = (  # the first whose pattern is in "library symbol"
    ("matrix products", r"dot_fp|dot_bf16|gebp|sgemm|gemm_pack|TensorContraction|pack_rhs|pack_lhs"),
    ("other kernels of XLA's libraries", r"libjax\S* .*ynn|libjax\S* .*slinky"),
    ("loops that XLA compiled (norms, GELU, Winograd's sums, readout)", r"^\[JIT\]"),
    ("system: fresh memory, switching threads", r"^\[kernel"),
    ("copies by the C library", r"^libc"),
    ("XLA's runtime and threads", r"libjax"),
)


def main() -> None:
    """Print the shares of a case's processor time."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("case", choices=[case.name for case in CASES if case.name != "synthesis"])
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--berg-dir", type=Path)
    arguments.add_argument("--batch-size", type=int, default=8)
    given = arguments.parse_args()
    if not shutil.which("perf"):
        sys.exit("There is no program perf. Install it, on Debian with: apt-get install linux-perf")

    run = _compiled(given.case, given.berg_dir, given.batch_size)
    calls, took, busy, faults = _repeat(run, given.seconds)
    print(f"{given.case}: {took / calls:.2f} s a call, mean of {calls}")
    print(f"{busy / calls:.2f} s of processor time a call: {busy / took:.2f} cores busy")
    print(f"{faults / calls:,.0f} page faults a call")
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "perf.data"
        program = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "99", "-p", str(os.getpid()), "-o", str(samples)]
        recorder = subprocess.Popen(program)
        time.sleep(1)  # until it samples
        _repeat(run, given.seconds)  # sampling slows the calls, so that their time is not counted
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
        _print_table(_rows(samples))


def _repeat(run: Callable[[], Any], seconds: float) -> tuple[int, float, float, int]:
    """Return the number of calls, and their time, processor time and page faults."""
    calls, before, start = 0, resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    while time.perf_counter() - start < seconds:
        run()
        calls += 1
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return calls, took, busy, after.ru_minflt - before.ru_minflt


def _compiled(name: str, berg_dir: Path | None, count: int) -> Callable[[], Any]:
    subject = Subject(berg_dir or published_size_folder(1, print), 1)
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 224, 224), np.uint8)
    case = next(case for case in CASES if case.name == name)
    made = case.make(Inputs(subject, "float32", images, None, None, None), case.region)
    program = jax.jit(made.ours).lower(*made.arguments).compile()
    jax.block_until_ready(program(*made.arguments))
    return lambda: jax.block_until_ready(program(*made.arguments))


def _rows(samples: Path) -> list[tuple[float, str, str]]:
    """Return share, thread and kind of every row of perf's report."""
    report = subprocess.run(
        ["perf", "report", "-i", str(samples), "--sort", "pid,dso,symbol", "--stdio", "-t", "|"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = []
    for line in report.stdout.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) >= 4 and cells[0].endswith("%"):
            name = f"{cells[2]} {cells[3]}"
            kind = next((kind for kind, pattern in _KINDS if re.search(pattern, name)), "other")
            rows.append((float(cells[0][:-1]), cells[1], kind))
    if not rows:
        sys.exit(f"perf reported nothing:\n{report.stderr}")
    return rows


def _print_table(rows: list[tuple[float, str, str]]) -> None:
    threads, kinds = collections.Counter(), collections.Counter()
    for share, thread, kind in rows:
        threads[thread] += share
        kinds[kind] += share
    shown = [thread for thread, share in threads.most_common() if share >= 1]
    print("| share of processor time | all threads |" + "".join(f" thread {i + 1} |" for i in range(len(shown))))
    print("|---|---|" + "---|" * len(shown))
    for kind, total in kinds.most_common():
        by_thread = [sum(share for share, one, other in rows if (one, other) == (thread, kind)) for thread in shown]
        print(f"| {kind} | {total:.1f}% |" + "".join(f" {share:.1f}% |" for share in by_thread))


if __name__ == "__main__":
    main()
