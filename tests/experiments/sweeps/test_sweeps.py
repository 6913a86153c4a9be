"""Sweeps: what a specification means, that trials do not hurt each other, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow.parquet
import pytest
import submitit
from PIL import Image
from submitit.core.utils import DelayedSubmission
from typer.testing import CliRunner

from berg_jax.cli.app import app
from berg_jax.errors import IntegrityError, Interrupted, InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.experiments.sweeps import program, records, report, tables
from berg_jax.experiments.sweeps import submit as launching
from berg_jax.experiments.sweeps import worker as running
from berg_jax.experiments.sweeps.chunks import Chunk, make_chunks, remaining_chunks
from berg_jax.experiments.sweeps.program import Regions, run_chunk
from berg_jax.experiments.sweeps.spec import Spec, expand, read_spec, varying
from berg_jax.experiments.sweeps.trial import Trial, make_trial
from berg_jax.experiments.synthesis import augmentations, objectives, priors
from berg_jax.experiments.synthesis.optimize import optimize
from berg_jax.experiments.synthesis.parametrizations.fourier import fourier
from berg_jax.experiments.synthesis.parametrizations.pixels import pixels
from berg_jax.stream.devices import Process

from ...conftest import DATA, ROOT

BASE_NONE = 'base = {berg_dir = "demo", subject = 1}\n'
BASE = 'base = {berg_dir = "demo", subject = 1, drive = "FFA-1"}\n'


def parsed(text: str, base: str = BASE) -> Spec:
    return expand(tomllib.loads(base + text))


def settings(spec: Spec, *names: str) -> list[tuple]:
    return [tuple(trial.settings[name] for name in names) for trial in spec.trials]


# --- the specification

RECORDED_DRAWS = [(0, 0.0395585, 8), (0, 0.186397, 8), (1, 0.0395585, 8), (1, 0.186397, 8)]
RECORDED_IDS = ["e9232dd219c84b15", "98d796a4d7eaf0bf", "44a66a2e95b8608d", "3c6def5086904abb"]


def test_an_id_is_the_same_everywhere() -> None:
    """Recorded once: a change of what is hashed would repeat every trial that anybody has."""
    text = """
    grid = {seed = [0, 1]}
    random = {trials = 2, seed = 3, axes = {learning_rate = {loguniform = [1e-3, 1]}, jitter = {choice = [0, 4, 8]}}}
    """
    spec = parsed(text)
    assert settings(spec, "seed", "learning_rate", "jitter") == RECORDED_DRAWS
    assert [trial.id for trial in spec.trials] == RECORDED_IDS


def test_an_id_is_of_what_is_meant() -> None:
    one = parsed("", 'base = {berg_dir = "demo", subject = 1, drive = "PPA", learning_rate = 1, margin = inf}')
    other = parsed("", 'base = {learning_rate = 1.0, drive = ["PPA"], subject = 1, berg_dir = "demo", steps = 256}')
    assert one.trials == other.trials
    changed = parsed("", 'base = {berg_dir = "demo", subject = 1, drive = "PPA", learning_rate = 0.9}')
    assert changed.trials[0].id != one.trials[0].id


def test_grid_zip_and_random_are_combined() -> None:
    spec = parsed("""
    [grid]
    seed = [5, 6]
    images = ["pixels", "phases"]
    [zip]
    suppress = ["PPA", ["OPA", "RSC"], []]
    margin = [1, 2.5, inf]
    [random]
    trials = 2
    [random.axes]
    total_variation = {uniform = [0, 0.1]}
    """)
    assert len(spec.trials) == 2 * 2 * 3 * 2
    pairs = [(["PPA"], 1.0), (["OPA", "RSC"], 2.5), ([], None)]
    drawn = [trial.settings["total_variation"] for trial in spec.trials[:2]]
    expected = [
        (seed, images, suppress, margin, weight)
        for seed in (5, 6)
        for images in ("pixels", "phases")
        for suppress, margin in pairs
        for weight in drawn
    ]
    assert settings(spec, "seed", "images", "suppress", "margin", "total_variation") == expected
    assert 0 <= min(drawn) < max(drawn) <= 0.1


def test_draws_are_spread_as_asked_and_stay_when_more_are_asked_for() -> None:
    axes = "{learning_rate = {loguniform = [1e-4, 1]}, momentum = {uniform = [0.5, 0.9]}, jitter = {choice = [0, 4]}}"
    many = parsed(f"random = {{trials = 2000, axes = {axes}}}")
    few = parsed(f"random = {{trials = 20, axes = {axes}}}")
    assert many.trials[:20] == few.trials
    rates, momenta, jitters = (
        np.array(column) for column in zip(*settings(many, "learning_rate", "momentum", "jitter"), strict=True)
    )
    for shares in (np.log10(rates) / 4 + 1, (momenta - 0.5) / 0.4, jitters / 4):
        assert 0 <= shares.min() < shares.max() <= 1
        assert abs(shares.mean() - 0.5) < 4 * shares.std() / np.sqrt(2000)
    assert abs(np.corrcoef(np.log(rates), momenta)[0, 1]) < 0.1
    alone = parsed("random = {trials = 20, axes = {learning_rate = {loguniform = [1e-4, 1]}}}")
    assert settings(alone, "learning_rate") == settings(few, "learning_rate")
    other = parsed("random = {trials = 20, seed = 1, axes = {learning_rate = {loguniform = [1e-4, 1]}}}")
    assert not set(settings(alone, "learning_rate")) & set(settings(other, "learning_rate"))


def test_a_draw_that_came_before_counts_once() -> None:
    spec = parsed("random = {trials = 9, axes = {jitter = {choice = [0, 4]}}}")
    assert (len(spec.trials), spec.repeated) == (2, 7)
    assert "7 combinations had the same settings" in launching.plan_text(spec)


WRONG = {
    "table": ("gird = {seed = [1]}", r"gird is no table of a sweep: it has \[base\], \[grid\]"),
    "no table": ("grid = 3", "grid is no table"),
    "name": ("grid = {sede = [1]}", "grid.sede is no setting of a trial. Those are: berg_dir, subject, drive"),
    "kind": ("grid = {seed = [0, 1.5]}", "grid.seed must be an integer from 0 to 4294967295, got 1.5"),
    "truth": ("grid = {seed = [true]}", "grid.seed must be an integer .* got True"),
    "text": ("grid = {learning_rate = ['0.1']}", "grid.learning_rate must be a number above 0, got '0.1'"),
    "range": ("grid = {momentum = [1]}", "grid.momentum must be a number from 0 to below 1, got 1"),
    "nan": ("grid = {learning_rate = [nan]}", "must be a number above 0, got nan"),
    "choice": ("grid = {images = ['wavelets']}", "must be one of fourier, pixels, phases, got 'wavelets'"),
    "unhashable": ("grid = {images = [[1]]}", r"grid.images must be one of .* got \[1\]"),
    "ROIs": ("grid = {suppress = [['PPA', 'PPA']]}", "a list of different ones, got"),
    "no list": ("grid = {seed = 3}", "grid.seed must be a list of values, got 3"),
    "empty": ("grid = {seed = []}", r"grid.seed must be a list of values, got \[\]"),
    "twice": ("grid = {learning_rate = [1, 1.0]}", "grid.learning_rate has a value twice"),
    "lengths": ("zip = {seed = [1, 2], steps = [1]}", "as many values on every axis: seed has 2, steps has 1"),
    "two places": ("grid = {seed = [1]}\nzip = {seed = [2]}", r"seed stands in \[grid\] and in \[zip\]"),
    "base and axis": ("grid = {subject = [1]}", r"subject stands in \[base\] and in \[grid\]"),
    "both": ("grid = {suppress = ['FFA-1']}", r"\['FFA-1'\] cannot be driven and suppressed"),
    "k": ("grid = {objective = ['top_mean']}", "k is needed with objective 'top_mean', and only there"),
    "margin": ("grid = {objective = ['top_mean'], k = [2], margin = [1]}", "margin is for objective 'control'"),
    "radius": ("grid = {radius = [1]}", "radius is the distance from start, which is not given"),
    "start": ("grid = {start = ['a.png'], images = ['phases']}", "start is for images 'fourier' and 'pixels'"),
    "photographs": ("grid = {photographs = ['a']}", "photographs are for images 'phases'"),
    "draws": ("random = {axes = {seed = {choice = [1]}}}", "random.trials must be an integer .* 1, got None"),
    "random": ("random = {count = 3}", r"random.count is not known: \[random\] has trials, seed and axes"),
    "no axes": ("random = {trials = 3}", "random.axes must be a table of axes, got None"),
    "how": ("random = {trials = 3, axes = {seed = {normal = [0, 1]}}}", r"random.axes.seed must be \{uniform = "),
    "fractions": ("random = {trials = 3, axes = {seed = {uniform = [0, 9]}}}", "draws numbers with fractions"),
    "order": ("random = {trials = 3, axes = {momentum = {uniform = [0.9, 0]}}}", "needs .* with low < high, got"),
    "zero": ("random = {trials = 1, axes = {total_variation = {loguniform = [0, 1]}}}", "with 0 < low < high"),
    "launcher": ("launcher = {queue = 'gpu'}", r"launcher.queue is not known: \[launcher\] has kind, chunk"),
    "launcher kind": ("launcher = {kind = 'pbs'}", "launcher.kind must be 'local' or 'slurm', got 'pbs'"),
    "chunk": ("launcher = {chunk = 65}", "launcher.chunk must be an integer from 1 to 64, got 65"),
    "microbatch": ("launcher = {chunk = 4, microbatch = 8}", "microbatch must be at most the chunk, 4, got 8"),
    "local": ("launcher = {gres = 'gpu:1'}", "launcher.gres is for kind 'slurm', got kind 'local'"),
    "setup": ("launcher = {kind = 'slurm', setup = 'module load cuda'}", "launcher.setup must be a list of lines"),
    "lines": ("launcher = {kind = 'slurm', setup = [\"a\\nb\"]}", "launcher.setup must be a list of lines"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told_with_their_key(name: str) -> None:
    text, said = WRONG[name]
    with pytest.raises(InvalidParameterError, match=said):
        parsed(text)


def test_what_is_missing_and_what_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="subject is not given: it must be a subject's number"):
        parsed("", 'base = {berg_dir = "demo", drive = "PPA"}')
    with pytest.raises(InvalidParameterError, match="drive or suppress must name a ROI"):
        parsed("", 'base = {berg_dir = "demo", subject = 1}')
    path = tmp_path / "spec.toml"
    path.write_text("[base\n")
    with pytest.raises(InvalidParameterError, match=r"spec\.toml is no TOML: .*line 1"):
        read_spec(path)
    with pytest.raises(ResourceError, match="Cannot read"):
        read_spec(tmp_path / "nothing.toml")
    path = tmp_path / "sweep.json"
    for text in ("{", "[]", "{}", '{"sweep": 3}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(InvalidParameterError, match=r"sweep\.json is no sweep's JSON: "):
            read_spec(path)


def test_a_folder_s_specification_is_one(tmp_path: Path) -> None:
    spec = parsed("grid = {margin = [0.5, inf]}")
    records.begin(tmp_path, spec)
    assert read_spec(tmp_path / "sweep.json") == spec


# --- chunks


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


# --- the program


@flax.struct.dataclass
class Tiny:
    """A model whose vertices each look for a pattern."""

    weights: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        return jnp.tanh(jnp.einsum("bchw,chwv->bv", images / 255 - 0.5, self.weights, precision="highest"))


VERTICES = 6
AREAS = {"FFA-1": slice(0, 2), "PPA": slice(2, 6)}


def regions(*_: Any) -> Regions:
    # At every frequency there is a gradient: of one that has none, Adam would make a step of nothing but rounding.
    patterns = np.random.default_rng(0).normal(size=(3, 224, 224, VERTICES)) / 1500
    weights = {name: np.zeros(VERTICES, np.float32) for name in AREAS}
    for name, where in AREAS.items():
        weights[name][where] = 1 / (where.stop - where.start)
    facts = {"weights": "synthetic", "synthetic": True, "identity": "tiny"}
    return Regions(Tiny(jnp.asarray(patterns, jnp.float32)), weights, {"OPA": "OPA is not in this subject."}, facts)


def trial(**given: Any) -> Trial:
    return make_trial({"berg_dir": "demo", "subject": 1, "drive": ["FFA-1"], "steps": 18} | given)


MIXED = [
    trial(seed=3, learning_rate=0.02, jitter=0),
    trial(seed=4, learning_rate=3e38),  # its second step is not finite
    trial(seed=3, drive=["OPA"]),
    trial(seed=5, drive=["PPA"], total_variation=0.05, momentum=0.5),
    trial(seed=2, margin=1e-9, jitter=0),  # its margin is met from the start, so it has no gradient
]
ROUNDING = 1e-5  # of a climb of 1: how the same program rounds in batches of another size, after Adam


def test_a_chunk_is_its_trials_one_by_one() -> None:
    """Against ``optimize``, and beside a trial that is lost in NaN and one that makes no sense."""
    here = regions()
    first, lost, absent, last, met = run_chunk(here, Chunk(MIXED, 5))
    for got, given in ((first, MIXED[0].settings), (last, MIXED[3].settings)):
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


# --- a run on disk


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a subject's model, which takes longer to compile."""
    monkeypatch.setattr(running, "Subject", lambda *_: None)
    monkeypatch.setattr(running, "load_regions", regions)


def begun(output: Path, seeds: int = 8, more: str = "", chunk: int = 5) -> Spec:
    spec = parsed(f"grid = {{seed = {list(range(seeds))}}}\nlauncher = {{chunk = {chunk}}}\n{more}", BASE_18)
    records.begin(output, spec)
    return spec


BASE_18 = 'base = {berg_dir = "demo", subject = 1, drive = "FFA-1", steps = 18}\n'


def work(output: Path, *arguments: Any, **options: Any) -> str:
    return running.work(output, *arguments, show_progress=False, **options)


def ran(output: Path) -> list[str]:
    """Ids in the order in which records name them, repetitions and all."""
    found = [json.loads(path.read_text())["trials"] for path in (output / "records").glob("*.json")]
    return [entry["id"] for chunk in found for entry in chunk]


class Fake:
    """A chunk's program that computes nothing, and breaks where it is told to."""

    def __init__(self, breaks: tuple[int, ...] = ()) -> None:
        self.breaks, self.seen = breaks, []

    def __call__(self, _: Regions, chunk: Chunk, *__: Any) -> list[program.Outcome]:
        seeds = [trial.settings["seed"] for trial in chunk.trials]
        self.seen.append(seeds)
        if set(seeds) & set(self.breaks):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        image = np.zeros((3, 224, 224), np.uint8)
        numbers = {"best_step": 1, "skipped_steps": 0, "history": [0.5], "sha256": "0", "responses": {"FFA-1": 1.0}}
        return [
            program.Outcome(
                image, {"id": t.id, "settings": t.settings, "error": None, "value": float(seed), **numbers}
            )
            for t, seed in zip(chunk.trials, seeds, strict=True)
        ]


def test_a_trial_that_breaks_its_chunk_breaks_only_itself(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = begun(tmp_path)
    fake = Fake(breaks=(2,))
    monkeypatch.setattr(running, "run_chunk", fake)
    said = work(tmp_path)
    assert fake.seen == [[0, 1, 2, 3], [0], [1], [2], [3], [4, 5, 6, 7]]
    assert "7 of 8 trials done, 1 failed, 0 left" in said
    assert f"{spec.trials[2].id} failed (seed 2): RuntimeError: RESOURCE_EXHAUSTED: out of memory" in said
    rows = pyarrow.parquet.read_table(tmp_path / "sweep.parquet").to_pylist()
    assert [row["value"] for row in rows] == [0, 1, None, 3, 4, 5, 6, 7]
    assert [row["error"] is None for row in rows] == [seed != 2 for seed in range(8)]
    assert rows[2]["image"] is None
    fake.seen.clear()
    assert work(tmp_path) == said
    assert fake.seen == []
    again = Fake()
    monkeypatch.setattr(running, "run_chunk", again)
    assert "8 of 8 trials done, 0 failed, 0 left" in work(tmp_path, retry_failed=True)
    assert again.seen == [[2]]


def test_it_goes_on_and_grows(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path)
    with pytest.raises(Interrupted, match=r"Stopped between two chunks.(.|\n)*0 of 8 trials done, 0 failed, 8 left"):
        work(tmp_path, time_limit=-1)
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    (tmp_path / "images" / "leftover.png.1.partial").touch()
    work(tmp_path)
    begun(tmp_path, 10)
    work(tmp_path)
    assert fake.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    with pytest.raises(InvalidParameterError, match="holds another sweep: 7 trials that are recorded there"):
        begun(tmp_path, 3)
    assert len(set(ran(tmp_path))) == len(ran(tmp_path)) == 10


def test_workers_share_a_folder(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path, 10, chunk=2)
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    assert "6 of 10 trials done, 0 failed, 4 left" in work(tmp_path, Process(0, 2))
    assert "10 of 10 trials done" in work(tmp_path, Process(1, 2))
    assert fake.seen == [[0, 1], [4, 5], [8, 9], [2, 3], [6, 7]]
    page = (tmp_path / "report.html").read_text()
    assert "10 of 10 trials are done, 0 failed, 0 are left" in page
    assert page.count("<img") == 10 + 1


def test_what_others_record_meanwhile_is_in_the_results(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that writes late must not leave a table without what another one did while it wrote."""
    begun(tmp_path, 4, chunk=2)
    monkeypatch.setattr(running, "run_chunk", Fake())
    written = []

    def late(output: Path, spec: Spec, found: dict[str, records.Entry]) -> list[str]:
        written.append(len(found))
        if len(written) == 1:
            for path in kept:
                path.rename(output / "records" / path.name)
        return tables.write_results(output, spec, found)

    work(tmp_path)
    kept = [path.rename(tmp_path / path.name) for path in sorted((tmp_path / "records").glob("*.json"))[:1]]
    monkeypatch.setattr(running, "write_results", late)
    assert "4 of 4 trials done" in work(tmp_path, Process(9, 10))
    assert written == [2, 4]
    assert len(pyarrow.parquet.read_table(tmp_path / "sweep.parquet")) == 4
    assert "4 of 4 trials are done" in (tmp_path / "report.html").read_text()


def test_damage_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no sweep at"):
        work(tmp_path / "nothing")
    begun(tmp_path)
    (tmp_path / "records" / "a.json").write_text('{"time": 1}')
    with pytest.raises(IntegrityError, match=r"a\.json is damaged: KeyError\('trials'\). Remove it"):
        records.entries(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"sweep\.json is damaged"):
        work(tmp_path)


def test_a_region_that_nobody_has_is_refused() -> None:
    golden = f'base = {{berg_dir = "{DATA / "golden"}", drive = "V3v"}}\ngrid = {{subject = [1, 2]}}\n'
    trials = parsed("zip = {suppress = [['V1v'], ['PPAX']]}", golden).trials
    with pytest.raises(InvalidParameterError, match="Invalid ROI: 'PPAX'"):
        launching.check_regions(trials)
    launching.check_regions(parsed("zip = {suppress = [['V1v'], ['PPA - EBA']]}", golden).trials)
    with pytest.raises(ModelNotFoundError):
        launching.check_regions(parsed("", golden.replace("[1, 2]", "[1, 7]")).trials)


def test_sheets_show_the_best_of_each_group() -> None:
    spec = parsed(f"grid = {{steps = {list(range(1, 101))}, seed = {list(range(10))}}}")
    rows = [
        (one, {"value": float(one.settings["seed"] % 7), "failed": one.settings["seed"] == 6, "synthetic": True})
        for one in spec.trials
    ]
    shown, (note,) = tables.choose_best(spec, rows)
    assert [(one.settings["steps"], one.settings["seed"]) for one, _ in shown] == [(n, 5) for n in range(1, 101)]
    assert note == ("900 of 1000 trials done, 100 failed. Shown are the best of each steps; sweep.parquet has all.")
    few = parsed(f"grid = {{seed = {list(range(100))}}}")
    rows = [(one, {"value": float(one.settings["seed"]), "failed": False}) for one in few.trials]
    shown, (note,) = tables.choose_best(few, rows)
    assert [one.settings["seed"] for one, _ in shown] == list(range(99, 39, -1))
    assert note == "100 of 100 trials done, 0 failed. Shown are the best 60; sweep.parquet has all."
    many = parsed(f"grid = {{steps = {list(range(1, 401))}, seed = [0, 1]}}")
    shown, (note,) = tables.choose_best(many, [(one, {"value": 0.0, "failed": False}) for one in many.trials])
    assert [one.settings["steps"] for one, _ in shown] == list(range(1, 301))
    assert "Shown are the best of each steps, for the first 300 of 400 of these" in note


def test_axes_sum_trials_up() -> None:
    spec = parsed(
        f"""
        grid = {{seed = {list(range(20))}, jitter = [8, 0]}}
        zip = {{drive = {[f"V{n}" for n in range(15)]}, margin = {[*range(1, 15), "inf"]}}}
        """.replace("'inf'", "inf"),
        BASE_NONE,
    )
    rows = [
        (one, {"value": float(one.settings["seed"]) + float(one.settings["drive"][0][1:]), "failed": False})
        if one.settings["jitter"] == 0
        else (one, {"failed": True})
        for one in spec.trials
    ]
    seed, jitter, drive, margin = report.axes_of(varying(spec), rows)
    assert list(seed.groups) == ["0 to 3", "4 to 7", "8 to 10", "11 to 13", "14 to 16", "17 to 19"]
    assert report._summary("seed", "8 to 10", seed.groups["8 to 10"]) == ("seed", "8 to 10", 45, 45, 16.0, 24.0)
    assert sum(map(len, seed.groups.values())) == len(rows)
    assert list(jitter.groups) == ["0", "8"]  # numbers in their order
    assert report._summary("jitter", "8", jitter.groups["8"]) == ("jitter", "8", 0, 300, None, None)
    assert list(drive.groups) == [f"V{n}" for n in range(14, 2, -1)]
    assert drive.note == "The 12 values of drive with the best trials are shown, out of 15."
    assert (len(margin.groups), next(iter(margin.groups))) == (12, "none")


# A run whose program takes a moment, as a process that can be killed. It says when it begins a chunk.
PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.experiments.sweeps import test_sweeps
from berg_jax.experiments.sweeps import worker as running

fake = test_sweeps.Fake()
def slow(*arguments):
    time.sleep(0.1)
    return fake(*arguments)
running.Subject, running.load_regions, running.run_chunk = (lambda *_: None), (lambda *_: test_sweeps.NOTHING), slow
print("begun", flush=True)
test_sweeps.work(Path(sys.argv[2]))
"""
NOTHING = Regions(None, {}, {}, {"weights": "synthetic", "synthetic": True, "identity": "none"})


@pytest.mark.nightly
def test_kill_9_costs_the_chunk_at_hand(tmp_path: Path) -> None:
    spec = begun(tmp_path, 24, chunk=2)
    random = np.random.default_rng(0)
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(tmp_path)]
    done: dict[str, bytes] = {}
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "begun\n"
        time.sleep(random.uniform(0.2, 0.6))
        process.kill()
        process.communicate()
        there = {path.name: path.read_bytes() for path in (tmp_path / "records").glob("*.json")}
        assert done.items() <= there.items()
        for name in ran(tmp_path):
            Image.open(tmp_path / "images" / f"{name}.png").load()
        done = there
    assert 0 < len(ran(tmp_path)) < 24
    subprocess.run(command, check=True)
    there = {path.name: path.read_bytes() for path in (tmp_path / "records").glob("*.json")}
    assert done.items() <= there.items()
    assert Counter(ran(tmp_path)) == Counter({one.id: 1 for one in spec.trials})
    assert not list(tmp_path.rglob("*.partial"))


# --- the command and its launchers


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def invoke(*arguments: object) -> tuple[int, str]:
    said = CliRunner().invoke(app, ["sweep", *map(str, arguments)])
    return said.exit_code, said.output


def test_dry_run_and_status_need_no_jax(tmp_path: Path) -> None:
    path = written(tmp_path, f"{BASE}grid = {{seed = [0, 1, 2], learning_rate = [0.1, 0.2]}}")
    records.begin(tmp_path / "out", read_spec(path))
    code = (
        "import sys; from berg_jax.cli.app import app\n"
        "for more in (['--dry-run'], ['--status', '--output', sys.argv[2]]):\n"
        "    app(['sweep', sys.argv[1], *more], standalone_mode=False)\n"
        "print({'jax', 'pyarrow', 'submitit'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "6 trials (2 in [grid]) in 1 chunks of up to 6"
    assert [line.split("  ")[1:] for line in said[1:3]] == [
        ["seed 0", "learning_rate 0.1"],
        ["seed 0", "learning_rate 0.2"],
    ]
    assert all(re.match("[0-9a-f]{16}  ", line) for line in said[1:7])
    assert said[7:] == [f"{tmp_path / 'out'}: 0 of 6 trials done, 0 failed, 6 left", "set()"]


def test_the_command(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    base = f'[base]\nberg_dir = "{DATA / "golden"}"\nsubject = 2\ndrive = ["V3v", "PPA"]\n'
    path, out = written(tmp_path, f"{base}[grid]\nseed = [0, 1, 2]\n"), tmp_path / "out"
    code, said = invoke(path, "--output", out, "--time-limit", "-1")
    assert (code, "The same command goes on" in said) == (75, True)
    code, said = invoke(path, "--output", out)
    assert (code, fake.seen) == (0, [[0, 1, 2]])
    assert "3 trials (1 in [grid]) in 1 chunks of up to 3" in said
    assert "3 of 3 trials done, 0 failed, 0 left" in said
    assert {path.name for path in out.iterdir()} == {
        "sweep.json",
        "sweep.parquet",
        "contact_sheet.png",
        "scores.png",
        "report.html",
        "config.json",
        "images",
        "records",
    }
    page, config = (out / "report.html").read_text(), json.loads((out / "config.json").read_text())
    assert "3 of 3 trials are done, 0 failed, 0 are left" in page
    assert "SYNTHETIC" in page
    best = re.findall(r"<tr><td>[0-9a-f]{16}</td><td class=number>([0-9.]+)</td>", page)
    assert best == ["2.000", "1.000", "0"]
    assert config["settings"] == tomllib.loads(path.read_text())
    assert config["command"] == f"berg-jax sweep {out / 'sweep.json'} --output {out}"
    (out / "report.html").unlink()  # as after a crash
    assert invoke(out / "sweep.json", "--output", out)[0] == 0
    assert (out / "report.html").read_text() == page
    assert len(fake.seen) == 1
    table = pyarrow.parquet.read_table(out / "sweep.parquet")
    assert json.loads(table.schema.metadata[b"berg_jax.sweep"]) == tomllib.loads(path.read_text())
    row = table.to_pylist()[1]
    assert (row["drive"], row["suppress"], row["seed"], row["value"]) == ("V3v; PPA", "", 1, 1.0)
    assert (out / row["image"]).is_file()
    assert invoke(path) == (2, "Error: Give --output, the folder to write; --dry-run needs none.\n")
    assert invoke(path, "--output", out, "--process-index", 2, "--process-count", 2)[0] == 2
    assert "Invalid ROI" in invoke(written(tmp_path, base.replace("PPA", "PPQ")), "--output", tmp_path / "new")[1]
    assert not (tmp_path / "new").exists()


SLURM = """
[launcher]
kind = "slurm"
chunk = 2
partition = "gpu"
gres = "gpu:1"
mem = "32GB"
cpus_per_task = 4
time = 120
setup = ["module load cuda", "export BERG_JAX_TEST='a b'"]
max_parallel = 2
jobs = 3
extra = {account = "vision"}
"""

# What Slurm is to its user: a script is taken, and its tasks are run with what they must know.
SBATCH = """#!/bin/bash
cp "$1" "$SLURM_FAKE/script.sh"
echo "Submitted batch job 42"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with commands of Slurm's names, first on the path."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_FAKE", str(folder))
    return folder


# Options, then the command, whose output goes to the files that they name.
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do
  case "$1" in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
"""


def test_slurm_is_asked_for_what_the_launcher_says(
    slurm: Path, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake()
    monkeypatch.setattr(running, "run_chunk", fake)
    base = f'[base]\nberg_dir = "{DATA / "golden"}"\nsubject = 2\ndrive = "V3v"\n[grid]\nseed = {list(range(10))}\n'
    out = tmp_path / "out"
    path = written(tmp_path, base + SLURM)
    code, said = invoke(path, "--output", out)
    assert code == 0, said
    assert "3 jobs for 5 chunks submitted, at most 2 at a time: 42_0, 42_1, 42_2" in said
    script = (slurm / "script.sh").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))
    expected = {"array": "0-2%2", "partition": "gpu", "gres": "gpu:1", "time": "120", "account": "vision"}
    expected |= {"mem": "32GB", "cpus-per-task": "4"}
    assert expected.items() <= options.items()
    assert re.search(
        r"\nmodule load cuda\nexport BERG_JAX_TEST='a b'\n(.|\n)*\nsrun .* -u -m submitit.core._submit ", script
    )
    jobs = [DelayedSubmission.load(out / "jobs" / f"42_{index}_submitted.pkl") for index in range(3)]
    jobs[0].result()
    assert fake.seen == [[0, 1], [6, 7]]
    jobs[1]._checkpoint_function().result()  # what goes on when its time was up
    assert fake.seen[2:] == [[2, 3], [8, 9]]
    assert "2 left" in invoke(path, "--output", out, "--status")[1]
    assert "10 of 10 trials done" in jobs[2].result()
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'Invalid partition' >&2; exit 1\n")
    assert "10 of 10 trials done" in invoke(path, "--output", out)[1]  # nothing is left to submit
    code, said = invoke(path, "--output", tmp_path / "other")
    assert (code, "Slurm refuses the jobs" in said, "Invalid partition" in said) == (2, True, True)


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    base = f'[base]\nberg_dir = "{DATA / "golden"}"\nsubject = 2\ndrive = "V3v"\n'
    code, said = invoke(written(tmp_path, base + SLURM), "--output", tmp_path / "out")
    assert (code, "There is no Slurm here" in said) == (2, True)


# --- all of it, on demo subjects

THOUSAND = """
[base]
berg_dir = "demo"
drive = "FFA-1"
steps = 2
[grid]
subject = [1, 2]
images = ["fourier", "pixels"]
seed = [0, 1, 2, 3, 4]
[random]
trials = 50
[random.axes]
learning_rate = {loguniform = [1e-3, 1e-1]}
jitter = {choice = [0, 4, 8]}
[launcher]
chunk = 25
"""
MAIN = "from berg_jax.cli.app import main; main()"


def environment(tmp_path: Path) -> dict[str, str]:
    """Of a process that need not compile what another one has compiled."""
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    return {**os.environ, **kept, "XLA_FLAGS": ""}


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_1000_trials_survive_kill_9(demo: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, THOUSAND), tmp_path / "out"
    command = [sys.executable, "-c", MAIN, "sweep", str(path), "--output", str(out)]
    quiet = {"env": environment(tmp_path), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    random = np.random.default_rng(int(os.environ.get("SWEEP_SEED", "0")))
    kept: dict[str, bytes] = {}
    kills, began = [], time.monotonic()
    while len(kills) < 6:
        process = subprocess.Popen(command, **quiet)
        target = len(kept) + random.integers(1, 6)  # a chunk or a few, then at any moment of the next
        while process.poll() is None and len(list((out / "records").glob("*.json"))) < target:
            time.sleep(0.05)
        time.sleep(random.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = {path.name: path.read_bytes() for path in (out / "records").glob("*.json")}
        assert kept.items() <= there.items()
        kept = there
        kills.append(len(ran(out)))
    assert kills[-1] < 1000
    assert subprocess.run(command, **quiet, check=False).returncode == 0
    print(f"\ntrials done at each kill: {kills}; {time.monotonic() - began:.0f} s in all")
    there = {path.name: path.read_bytes() for path in (out / "records").glob("*.json")}
    assert kept.items() <= there.items()
    spec = read_spec(path)
    assert Counter(ran(out)) == Counter({one.id: 1 for one in spec.trials})
    table = pyarrow.parquet.read_table(out / "sweep.parquet").to_pylist()
    assert [row["id"] for row in table] == [one.id for one in spec.trials]
    assert {row["error"] for row in table} == {None}
    assert len(list((out / "images").iterdir())) == 1000
    # What was computed after a kill is what would have been computed without.
    whole = tmp_path / "whole"
    few = written(tmp_path, THOUSAND.replace("[1, 2]", "[2]").replace('["fourier", "pixels"]', '["pixels"]'))
    assert subprocess.run([*command[:4], str(few), "--output", str(whole)], **quiet, check=False).returncode == 0
    values = {row["id"]: row["value"] for row in table}
    again = pyarrow.parquet.read_table(whole / "sweep.parquet").to_pylist()
    assert len(again) == 250
    np.testing.assert_allclose([values[row["id"]] for row in again], [row["value"] for row in again], atol=1e-4)


DEMO = '[base]\nberg_dir = "demo"\nsubject = 1\ndrive = "FFA-1"\nsteps = 2\n[grid]\nseed = [0, 1, 2, 3]\n'
# Each task of the array as Slurm would run it, after sbatch has returned.
RUNNING = (
    SBATCH
    + """
for task in 0 1; do
  SLURM_JOB_ID=4$task SLURM_ARRAY_JOB_ID=42 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 \\
    SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=here setsid bash "$1" >>"$SLURM_FAKE/log" 2>&1 &
done
"""
)


@pytest.mark.nightly
def test_jobs_of_an_array_share_the_sweep(
    demo: Path, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    (slurm / "sbatch").write_text(RUNNING)
    launcher = (
        '[launcher]\nkind = "slurm"\nchunk = 2\nsetup = ["export SWEEP_SETUP=1", "test -n \\"$SWEEP_SETUP\\""]\n'
    )
    path, out = written(tmp_path, DEMO + launcher), tmp_path / "out"
    assert "2 jobs for 2 chunks submitted" in invoke(path, "--output", out)[1]
    end = time.monotonic() + 300
    while "4 of 4 trials done" not in invoke(path, "--output", out, "--status")[1] and time.monotonic() < end:
        time.sleep(1)
    assert sorted(ran(out)) == sorted(one.id for one in read_spec(path).trials), (slurm / "log").read_text()
    found = records.entries(out)
    assert {entry["process"] for entry in found.values()} == {0, 1}
    while not (out / "sweep.parquet").exists() and time.monotonic() < end:
        time.sleep(0.5)


@pytest.mark.nightly
def test_submitit_s_local_executor_runs_the_same_job(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    path, out = written(tmp_path, f"{DEMO}[launcher]\nchunk = 2\n"), tmp_path / "out"
    records.begin(out, read_spec(path))
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=10)
    jobs = executor.map_array(launching.Job(str(out), 2), [0, 1])
    said = [job.result() for job in jobs]
    assert any("4 of 4 trials done, 0 failed, 0 left" in text for text in said)


@pytest.mark.nightly
def test_ctrl_c_and_sigterm_stop_cleanly(demo: Path, tmp_path: Path) -> None:
    path, out = written(tmp_path, THOUSAND), tmp_path / "out"
    command = [sys.executable, "-c", MAIN, "sweep", str(path), "--output", str(out)]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
        before = len(list((out / "records").glob("*.json")))
        while process.poll() is None and len(list((out / "records").glob("*.json"))) == before:
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate()[1]
        assert process.returncode == 75, said
        assert "The same command goes on" in said
        assert len(set(ran(out))) == len(ran(out)) > 25 * before
        assert (out / "sweep.parquet").exists()
