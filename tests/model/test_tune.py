"""``berg-jax tune``: who agrees, who wins, what is kept; and runs that keep how they were begun."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import berg_jax
from berg_jax import Execution, Images, Selection
from berg_jax.errors import Interrupted, InvalidParameterError
from berg_jax.experiments.benchmarks import races
from berg_jax.experiments.benchmarks.races import Entrant, Outcome, race, winner
from berg_jax.experiments.benchmarks.tune import shown, tune
from berg_jax.model import tuned
from berg_jax.model.nn.config import PartConfig, ViTConfig
from berg_jax.stream.encode import encode_images
from berg_jax.stream.execution import variant_for

from ..conftest import Golden

CPU = jax.devices("cpu")[0]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("BERG_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fail() -> np.ndarray:
    raise RuntimeError("not supported\nby this device")


def test_only_a_variant_that_agrees_is_timed_and_one_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {"default": [3, 2, 4], "off": [], "fast": [1.5, 1, 2], "slow": [10], "nan": [], "fails": []}
    one = np.ones(4)
    results = {"default": one, "off": one * 1.01, "fast": one * (1 + 1e-7), "slow": one, "nan": one * np.nan}
    entrants = [Entrant(name, {"is": name}, (lambda name=name: results[name],)) for name in results]
    entrants.append(Entrant("fails", {"is": "fails"}, (fail,)))
    names = {entrant.computations: entrant.name for entrant in entrants}
    monkeypatch.setattr(races, "_seconds", lambda computations: took[names[computations]].pop(0))
    outcomes = {outcome.name: outcome for outcome in race(entrants, 1e-5)}

    assert {name: outcome.seconds for name, outcome in outcomes.items()} == {
        **{"default": 3, "fast": 1.5, "slow": 10},
        **dict.fromkeys(("off", "nan", "fails")),
    }
    assert not any(took.values())  # the slow one is timed once, others as often as was asked
    assert "disagrees: 1e-02 is more than 1e-05" in outcomes["off"].note
    assert outcomes["fails"].note == "RuntimeError: not supported"
    assert winner(list(outcomes.values())).name == "fast"


@pytest.mark.parametrize(("seconds", "expected"), [(0.98, "default"), (0.9, "other"), (None, "default")])
def test_the_default_stays_unless_another_is_clearly_faster(seconds: float | None, expected: str) -> None:
    outcomes = [Outcome("default", {}, 1.0, 0.0), Outcome("other", {}, seconds, 0.0)]
    assert winner(outcomes).name == expected


def test_a_default_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not supported"):
        race([Entrant("default", {}, (fail,))], 1e-5)


@pytest.mark.nightly
@pytest.mark.parametrize("precision", ["float32", "tensorfloat32", "bfloat16"])
def test_a_small_network_is_tuned(cache: Path, precision: str) -> None:
    lines = []
    config = PartConfig(ViTConfig.tiny(), (1, 3), 8)
    found = tune(config=config, precisions=[precision], batch_size=2, repeats=1, say=lines.append)
    kept = json.loads((cache / tuned.FILE).read_text())
    assert list(kept) == [tuned._key(CPU, precision, jax.__version__)]
    assert next(iter(kept.values())) == found[precision] == tuned.tuned_entry(precision)
    races_run = found[precision]["races"]
    expected = {"convolution", "attention", "blocks", "readout tiles", "batch size"}
    assert set(races_run) == expected | ({"products"} if precision == "bfloat16" else set())
    assert all(outcome["seconds"] for outcomes in races_run.values() for outcome in outcomes)  # all of them agree
    assert ("Winograd" in [outcome["name"] for outcome in races_run["convolution"]]) == (precision != "bfloat16")
    assert all(line in shown() for line in lines[1:-1])


def test_nothing_was_tuned(cache: Path) -> None:
    assert "Nothing was tuned yet" in shown()
    for wrong in ({"precisions": ["float64"]}, {"repeats": 0}, {"batch_size": 0}):
        with pytest.raises(InvalidParameterError):
            tune(**wrong)
    assert not cache.exists()


@pytest.mark.nightly
def test_a_run_records_how_it_is_computed_and_a_resume_keeps_it(
    complement: Golden, cache: Path, tmp_path: Path
) -> None:
    """Tuned, or tuned again, between a run's beginning and its end → the run goes on as it was begun."""
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8))
    subject = berg_jax.Subject(complement.folder, complement.subject)

    def encode(name: str, limit: float | None = None) -> dict:
        execution = Execution(batch_size=2, devices=1, time_limit=limit, show_progress=False)
        try:
            encode_images(subject, Images(images), tmp_path / name, selection=Selection("V3v"), execution=execution)
        except Interrupted:
            assert limit == 0
        return json.loads((tmp_path / name / "zarr.json").read_text())["attributes"]["run"]

    begun = encode("before.zarr", limit=0)
    assert "variant" not in begun
    tuned.keep_tuned(CPU, "float32", {"variant": {"attention": "plain", "winograd": True}, "batch_size": 4})
    assert encode("before.zarr") == begun
    tuned_run = encode("tuned.zarr", limit=0)
    assert tuned_run["variant"] == {"attention": "plain"}
    tuned.keep_tuned(CPU, "float32", {"variant": {}})
    assert encode("tuned.zarr") == encode("tuned.zarr") == tuned_run  # the second time it is complete
    assert "variant" not in encode("after.zarr")
    a, b = (berg_jax.open_responses(tmp_path / name).data.values for name in ("tuned.zarr", "after.zarr"))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_damaged_variant_is_not_computed(tmp_path: Path, cache: Path) -> None:
    tuned.keep_tuned(CPU, "float32", {"variant": {"unroll": True}})
    for run, expected in (({"variant": {"attention": "x"}}, {}), ({"variant": 3}, {}), ({}, {})):
        (tmp_path / "zarr.json").write_text(json.dumps({"attributes": {"run": run}}))
        assert variant_for(tmp_path, "float32") == expected
    assert variant_for(tmp_path / "not there", "float32") == {"unroll": True}
