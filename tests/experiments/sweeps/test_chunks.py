"""Chunks of trials: each trial in one, one shape in each, and computed as if it were alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

from berg_jax.errors import Interrupted
from berg_jax.experiments.sweeps import program
from berg_jax.experiments.sweeps.chunks import Chunk, make_chunks, remaining_chunks
from berg_jax.experiments.sweeps.program import run_chunk
from berg_jax.experiments.synthesis import augmentations, objectives, priors
from berg_jax.experiments.synthesis.optimize import optimize
from berg_jax.experiments.synthesis.parametrizations.fourier import fourier
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels

from .made import AREAS, BASE_NONE, parsed, regions, trial


def test_every_trial_is_in_one_chunk_of_its_shape() -> None:
    spec = parsed("""
    grid = {seed = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], images = ["fourier", "pixels"], margin = [1, inf], steps = [3, 4]}
    zip = {suppress = ["PPA", [], ["PPA", "OPA"]], learning_rate = [0.1, 0.2, 0.3]}
    """)
    for most, microbatch in ((64, None), (7, None), (8, 4), (7, 4), (1, None)):
        chunks = make_chunks(spec.trials, most, microbatch)
        assert Counter(trial.id for chunk in chunks for trial in chunk.trials) == Counter(
            {t.id: 1 for t in spec.trials}
        )
        sizes: dict[tuple, set[int]] = {}
        for chunk in chunks:
            assert len(chunk.trials) <= chunk.size <= most
            assert chunk.size % (microbatch or 1) == 0
            shapes = {(t.settings["images"], t.settings["steps"], len(t.settings["suppress"])) for t in chunk.trials}
            assert len(shapes) == 1
            sizes.setdefault(shapes.pop(), set()).add(chunk.size)
        assert len(sizes) == 2 * 2 * 3
        assert all(len(found) == 1 for found in sizes.values())  # one program serves a shape
    assert len(make_chunks(spec.trials, 64, None)) == 12
    signs = parsed("zip = {drive = [['V1', 'V2'], ['V1'], []], suppress = [[], 'V2', ['V1', 'V2']]}", BASE_NONE)
    assert len(make_chunks(signs.trials, 64, None)) == 1
    assert len({chunk.name for chunk in make_chunks(spec.trials, 7, None)}) == len(make_chunks(spec.trials, 7, None))


def test_what_is_left_keeps_its_chunks() -> None:
    spec = parsed(f"grid = {{seed = {list(range(20))}}}")
    chunks = make_chunks(spec.trials, 6, None)
    assert [len(chunk.trials) for chunk in chunks] == [5, 5, 5, 5]
    assert remaining_chunks(chunks, set(), 6, None) == chunks
    done = {trial.id for trial in chunks[1].trials} | {chunks[0].trials[0].id, chunks[3].trials[4].id}
    first, last = chunks[0].trials[1:], chunks[3].trials[:4]
    assert remaining_chunks(chunks, done, 6, None) == [
        chunks[2],
        Chunk((first + last)[:4], 4),
        Chunk((first + last)[4:], 4),
    ]


MIXED = [
    trial(seed=3, learning_rate=0.02, jitter=0),
    trial(seed=4, learning_rate=3e38),  # its second step is not finite
    trial(seed=3, drive=["OPA"]),
    trial(seed=5, drive=["PPA"], total_variation=0.05, momentum=0.5),
    trial(seed=2, margin=1e-9, jitter=0),  # its margin is met from the start, so it has no gradient
]
ROUNDING = 1e-5  # of a climb of 1: how the same program rounds in batches of another size, after Adam


@pytest.mark.nightly
@pytest.mark.parametrize("compared", [[3], [0, 3]])
def test_a_chunk_is_its_trials_one_by_one(compared: list[int]) -> None:
    """Against ``optimize``, and beside a trial that is lost in NaN and one that makes no sense."""
    here = regions()
    outcomes = run_chunk(here, Chunk(MIXED, 5))
    _, lost, absent, _, met = outcomes
    for number in compared:
        got, given = outcomes[number], MIXED[number].settings
        result = optimize(
            here.model,
            objectives.mean(here.weights[given["drive"][0]]),
            fourier(),
            steps=18,
            optimizer=optax.adam(given["learning_rate"], given["momentum"]),
            penalties=given["total_variation"] * priors.total_variation(),
            augment=augmentations.jitter(given["jitter"]),
            seed=given["seed"],
            show_progress=False,
        )
        np.testing.assert_allclose(got.entry["history"], result.history[:, 0], atol=ROUNDING)
        shown = np.asarray(result.images[0]).round()
        assert np.abs(got.image - shown).max() <= 1  # what lies at a half goes either way
        assert (got.image != shown).mean() < 1e-3
        responses = np.asarray(here.model(got.image[None].astype(np.float32)))[0]
        for name, where in AREAS.items():
            np.testing.assert_allclose(got.entry["responses"][name], responses[where].mean(), atol=1e-6)
        assert got.entry["value"] == pytest.approx(got.entry["responses"][given["drive"][0]], abs=1e-6)
        assert (got.entry["error"], got.entry["best_step"], got.entry["skipped_steps"]) == (None, 18, 0)
    assert lost.image is None
    assert "After its first steps its numbers are not finite" in lost.entry["error"]
    assert absent.entry["error"] == "OPA is not in this subject."
    assert "The gradient does not flow" in met.entry["error"]


def test_a_chunk_that_is_stopped_within_goes_on_to_the_same_bits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A job's time is up within a chunk → the next one goes on from the steps that were made."""
    here, path = regions(), tmp_path / "checkpoints" / "chunk.npz"
    whole = run_chunk(here, Chunk(MIXED, 5))
    looks = iter([False, True])
    with pytest.raises(Interrupted, match="Stopped after 16 of 18 steps"):
        run_chunk(here, Chunk(MIXED, 5), None, lambda: next(looks), path)
    written = path.stat().st_mtime_ns
    with pytest.raises(Interrupted, match="Stopped after 16 of 18 steps"):  # a life that makes no step is no progress
        run_chunk(here, Chunk(MIXED, 5), None, lambda: True, path)
    assert path.stat().st_mtime_ns == written
    for one, other in zip(whole, run_chunk(here, Chunk(MIXED, 5), None, lambda: False, path), strict=True):
        assert one.entry == other.entry
        np.testing.assert_array_equal(one.image, other.image)
    with pytest.raises(Interrupted, match="Stopped after 0 of 18 steps"):
        run_chunk(here, Chunk(MIXED[:3], 5), None, lambda: True, path)
    assert "A chunk begins anew" in caplog.text


@pytest.mark.nightly
@pytest.mark.parametrize("given", [{}, {"objective": "top_mean", "k": 1}])
def test_signs_differ_within_a_chunk(given: dict[str, Any]) -> None:
    names = ["FFA-1", "PPA"]
    signs = [(1, 1), (1, -1), (-1, -1)]
    chosen = [
        {"drive": [n for n, s in zip(names, pair, strict=True) if s > 0],
         "suppress": [n for n, s in zip(names, pair, strict=True) if s < 0]}
        for pair in signs
    ]  # fmt: skip
    here = regions()
    for pair, outcome in zip(
        signs, run_chunk(here, Chunk([trial(jitter=0, **one, **given) for one in chosen], 3)), strict=True
    ):
        responses = np.asarray(here.model(outcome.image[None].astype(np.float32)))[0]
        best = {name: responses[where].max() if given else responses[where].mean() for name, where in AREAS.items()}
        value = sum(sign * best[name] for name, sign in zip(names, pair, strict=True))
        assert outcome.entry["value"] == pytest.approx(value, abs=1e-5)
        assert outcome.entry["history"][-1] > outcome.entry["history"][0] + 0.5


@pytest.mark.nightly
@pytest.mark.parametrize("microbatch", [1, 2])
def test_what_is_computed_at_a_time_changes_nothing(microbatch: int) -> None:
    here = regions()
    together, apart = run_chunk(here, Chunk(MIXED, 6)), run_chunk(here, Chunk(MIXED, 6), microbatch)
    for one, other in zip(together, apart, strict=True):
        assert one.entry["error"] == other.entry["error"]
        if one.image is not None:
            np.testing.assert_allclose(one.entry["history"], other.entry["history"], atol=ROUNDING)
            assert (one.image != other.image).mean() < 1e-3


@pytest.mark.nightly
@pytest.mark.parametrize("given", [
    {"optimizer": "sgd", "momentum": 0.5, "learning_rate": 3.0},
    {"images": "pixels", "draws": 3},
    {"images": "phases"},
    {"objective": "top_mean", "k": 2, "drive": ["PPA"], "suppress": ["FFA-1"]},
    {"drive": ["FFA-1"], "suppress": ["PPA"], "margin": 0.3},
])  # fmt: skip
def test_settings_do_what_they_say(given: dict[str, Any]) -> None:
    here, one = regions(), trial(**given)
    s = one.settings
    (got,) = run_chunk(here, Chunk([one], 1))
    signed = [(here.weights[name], 1) for name in s["drive"]] + [(here.weights[name], -1) for name in s["suppress"]]
    if s["objective"] == "top_mean":
        objective = sum(
            (sign * objectives.top_mean(w, s["k"]) for w, sign in signed[1:]),
            objectives.top_mean(signed[0][0], s["k"]),
        )
    else:
        objective = objectives.control([w for w, _ in signed], [sign for _, sign in signed], margin=s["margin"])
    optimizer = (
        optax.sgd(s["learning_rate"], s["momentum"])
        if s["optimizer"] == "sgd"
        else optax.adam(s["learning_rate"], s["momentum"])
    )
    written = {"pixels": pixels(), "fourier": fourier(), "phases": program._phases(None)}[s["images"]]
    options = {"augment": augmentations.jitter(8), "draws": s["draws"], "steps": 18, "seed": 0}
    result = optimize(here.model, objective, written, optimizer=optimizer, show_progress=False, **options)
    np.testing.assert_allclose(got.entry["history"], result.history[:, 0], atol=ROUNDING)
