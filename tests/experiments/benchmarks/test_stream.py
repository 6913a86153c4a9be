"""The stream's benchmark: its figures, and memory that does not grow with the number of images."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from berg_jax.errors import (
    InvalidParameterError,
)

from ...conftest import Golden


@pytest.mark.nightly
def test_the_benchmark_runs(complement: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from berg_jax.experiments.benchmarks import stream as stream_benchmark

    monkeypatch.setattr(stream_benchmark, "_FILES_PER_RUN", 20)
    monkeypatch.setattr(stream_benchmark, "_JPEGS", 3)
    options = {"berg_dir": complement.folder, "subject_id": 2, "repeats": 2, "seconds": 1e-3}
    said = stream_benchmark.bench_stream(100, 8, output=tmp_path / "bench.json", **options).splitlines()
    assert said[0].startswith("100 images of 64 pixels, 200 responses each, stored: ")
    assert [line.rpartition("  ")[0].strip() for line in said[2:4]] == [
        "the same streamed into a store",
        "streamed over bare",
    ]
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["model"]["images"] == 32
    rates = figures["model"]["images_per_second"]
    np.testing.assert_allclose(np.divide(rates["streamed"], rates["bare"]), figures["model"]["streamed_over_bare"])
    assert len(rates["bare"]) == len(figures["jpeg"]["images_per_second"]) == 2
    assert figures["cores"] >= 1
    assert any(line.startswith("jax ") for line in figures["environment"])
    for wrong in ({"repeats": -1}, {"seconds": 0}, {"n_images": 0}, {"batch_size": 0}):
        with pytest.raises(InvalidParameterError, match="must be"):
            stream_benchmark.bench_stream(**wrong)


@pytest.mark.nightly
def test_memory_is_flat() -> None:
    """Ten times the images, at most a tenth more anonymous memory, at its peak and at the end."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory cannot be seen here")
    peaks, ends = [], []
    for images in ("10000", "100000"):
        command = [
            sys.executable,
            "-c",
            "from berg_jax.cli.app import main; main()",
            "bench-stream",
            "--repeats",
            "0",
        ]
        command += ["--images", images]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            seen = [0]
            while process.poll() is None:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                seen.extend(int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon"))
                time.sleep(0.02)
            said = process.stdout.read()
        assert process.returncode == 0
        peaks.append(max(seen))
        ends.append(int(said.rpartition("memory ")[2].split()[0]))
    print(f"anonymous memory for 10,000 and 100,000 images: at most {peaks} MB, at the end {ends} MB")
    assert peaks[1] < 1.1 * peaks[0]
    assert ends[1] < 1.1 * ends[0]
