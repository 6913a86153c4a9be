"""What the benchmark counts and compares. Its times are looked at by people, never by a test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from berg_jax.cli.benchmarks import EachCase
from berg_jax.convert.synthetic import natural_like_images
from berg_jax.errors import InvalidParameterError, ResourceError
from berg_jax.experiments.benchmarks import measures as benchmark_measures
from berg_jax.experiments.benchmarks import speed
from berg_jax.experiments.benchmarks.cases import CASES
from berg_jax.experiments.benchmarks.measures import count_operations, time_in_turn
from berg_jax.experiments.benchmarks.precision import ALL, precision_errors
from berg_jax.experiments.benchmarks.speed import benchmark
from berg_jax.experiments.benchmarks.stores import bench_store
from berg_jax.experiments.benchmarks.synthesis import STEPS, ascend, start
from berg_jax.experiments.synthesis import objectives
from berg_jax.experiments.synthesis.optimize import ADAM, optimize
from berg_jax.experiments.synthesis.parametrizations.base import Parametrization
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels
from berg_jax.vertices import Vertices

from ...conftest import Golden


def test_products_are_counted_as_often_as_they_run() -> None:
    a, b, weights = np.ones((4, 5)), np.ones((5, 6)), np.ones((3, 5, 5))
    assert count_operations(lambda a, b: a @ b, a, b) == 2 * 4 * 5 * 6
    looped = jax.jit(lambda a, weights: jax.lax.scan(lambda x, w: (x @ w, None), a, weights)[0])
    assert count_operations(looped, a, weights) == 3 * 2 * 4 * 5 * 5
    maps, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((5, 5, 3, 7))
    convolve = jax.jit(
        lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )
    assert count_operations(convolve, maps, kernel) == 2 * (2 * 4 * 4 * 7) * (5 * 5 * 3)
    assert count_operations(lambda a, b: (a @ b, a @ b @ b.T)[0], a, b) == 2 * 4 * 5 * 6  # the unread is not computed


def test_both_sides_take_turns() -> None:
    calls = []
    times = time_in_turn({name: lambda name=name: calls.append(name) for name in ("ours", "theirs")}, 3)
    assert calls == ["ours", "theirs"] * 3
    assert all(side["fastest"] <= side["median"] <= side["slowest"] for side in times.values())


@pytest.mark.nightly  # it starts a process for each peak of memory
@pytest.mark.torch
def test_the_benchmark_compares_answers_that_agree(tmp_path: Path) -> None:
    lines = []
    from berg_jax.convert.synthetic import make_synthetic_subject

    berg_dir = make_synthetic_subject(tmp_path / "berg_dir")
    report = benchmark(berg_dir, output=tmp_path / "bench.json", batch_size=2, repeats=1, say=lines.append)
    assert json.loads((tmp_path / "bench.json").read_text()) == report
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    cases = {case["case"]: case for case in report["cases"]}
    assert {"full brain", "readout alone"} < set(cases)
    assert len(lines) == 1 + len(cases) + 4  # the machine; before and after peak memory, twice
    assert sum("peak memory took" in line for line in lines) == 2
    for case in cases.values():
        assert case["difference"] < 1e-4 * max(case["largest"], 1)
        assert case["products"] > 0
    synthesis = cases["4 steps of synthesis for these"]
    assert synthesis["steps"] == 4
    assert synthesis["restarts"] == 64
    for case in (cases["full brain"], synthesis):
        assert case["peak_memory"].keys() == {"ours", "theirs"}
        assert all(size["host"] > 1e8 for size in case["peak_memory"].values())
    assert "synthetic" in report["machine"]["subject"]


@pytest.mark.nightly
def test_synthesis_is_timed_as_optimize_makes_it(complement: Golden) -> None:
    """The values before each step are those of optimize from the same start, uphill."""
    images = natural_like_images(2, 0)
    model = complement.model.select(Vertices(np.arange(3), np.arange(2), complement.hemisphere_size))
    values = np.asarray(ascend(model, start(images)))
    written = Parametrization(lambda key, n: start(images), pixels().decode)
    options = {"n": 2, "steps": STEPS, "optimizer": ADAM, "show_progress": False}
    result = optimize(model, objectives.mean(np.full(5, 0.2)), written, **options)
    np.testing.assert_allclose(values, result.history, atol=1e-5)
    assert (np.diff(values, axis=0) > 0).all()


@pytest.mark.nightly
def test_memory_is_a_process_s_own() -> None:
    """Whatever the one that asks for it has taken."""
    mine = np.ones(2**27)
    taken = benchmark_measures._in_own_process("nothing", "jax", "auto")
    assert 5e7 < taken["host"] < mine.nbytes


def test_a_process_that_measures_memory_is_given_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """900 vertices would not fit the command lines of some systems."""
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        assert sum(map(len, command)) < 1000
        asked.append(json.loads(Path(command[-2]).read_text()))
        Path(command[-1]).write_text(json.dumps({"host": 1, "device": None}))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    found = benchmark_measures.synthesis_memory("jax", Path("dir"), 1, np.arange(900), 1000, "float32", "cpu")
    assert found == {"host": 1, "device": None}
    assert asked == [["_restarts_once", "jax", "cpu", ["dir", 1, list(range(900)), 1000, "float32"]]]


def test_a_process_that_fails_to_measure_memory_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nMemoryError: too large\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ResourceError, match="exit code 1: MemoryError: too large"):
        benchmark_measures.peak_memory("jax", Path("dir"), 1, 8, "float32")


def test_one_case_is_measured_alone(complement: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "product_rate", lambda precision: 1e9)
    monkeypatch.setattr(speed, "_pytorch", lambda say, device: None)
    options = {"batch_size": 2, "repeats": 1, "say": lambda line: None}
    report = benchmark(complement.folder, complement.subject, cases=["readout"], device="cpu", **options)
    assert [case["case"] for case in report["cases"]] == ["readout alone"]


def test_the_command_offers_the_cases_of_the_table() -> None:
    assert [case.value for case in EachCase] == [case.name for case in CASES]


def test_a_device_that_is_not_there_is_refused() -> None:
    """``--device gpu`` where JAX has no GPU → refused, before a subject is made, instead of measuring the CPU."""
    for device in ("gpu", "tpu"):
        with pytest.raises(ResourceError, match=rf"no device '{device}'; JAX sees \['cpu'\]"):
            benchmark(device=device)


def test_the_benchmark_refuses_what_makes_no_sense() -> None:
    with pytest.raises(InvalidParameterError, match="batch of at least 2"):
        benchmark(Path("nowhere"), batch_size=1)
    with pytest.raises(InvalidParameterError, match=r"must be of \['full-brain', .*got \['whole'\]"):
        benchmark(Path("nowhere"), cases=["ROI", "whole"])


@pytest.mark.nightly
def test_errors_of_bfloat16_against_numpys(complement: Golden) -> None:
    import berg_jax

    (errors,) = precision_errors(
        complement.folder, complement.subject, precisions=["bfloat16"], n_images=4, batch_size=3
    )
    images = natural_like_images(4, 1)
    fast = berg_jax.load(complement.folder, complement.subject, precision="bfloat16")(images)
    x, y = np.asarray(complement.model(images), np.float64), np.asarray(fast, np.float64)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(errors.worst, min(expected), atol=1e-5)
    np.testing.assert_allclose(errors.medians[ALL], np.median(expected), atol=1e-5)
    np.testing.assert_allclose(errors.difference, np.abs(x - y).max(), rtol=1e-3)
    with pytest.raises(InvalidParameterError, match="at least 3 images"):
        next(precision_errors(complement.folder, complement.subject, n_images=2))
    with pytest.raises(InvalidParameterError, match="devices must be from 1 to 8, which are here, got 9"):
        next(precision_errors(complement.folder, complement.subject, devices=9))


def test_the_store_s_benchmark_writes_and_reads_what_it_says(tmp_path: Path) -> None:
    said = bench_store(
        20, hemisphere_size=50, chunk_bytes=1000, repeats=1, folder=tmp_path, output=tmp_path / "b.json"
    )
    figures = json.loads((tmp_path / "b.json").read_text())

    assert said.startswith("20 images × 100 vertices, ")
    assert (figures["files"], figures["images_per_block"]) == (4, 8)  # a block each, and the description
    assert figures["bytes"] >= 20 * 100 * 4
    kinds = ["one vertex", "100 scattered vertices", "one image", "the mean image"]
    assert all(list(reads) == kinds for reads in figures["reads"].values())
    assert list(tmp_path.iterdir()) == [tmp_path / "b.json"]  # the store is gone
    for wrong in ({"n_images": 0}, {"repeats": 0}, {"chunk_bytes": 0}):
        with pytest.raises(InvalidParameterError, match="must be at least 1"):
            bench_store(**wrong)
