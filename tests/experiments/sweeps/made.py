"""Specifications, a model that is small, and a run that computes nothing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from typer.testing import CliRunner

from berg_jax.cli.app import app
from berg_jax.experiments.sweeps import program, records
from berg_jax.experiments.sweeps import worker as running
from berg_jax.experiments.sweeps.chunks import Chunk
from berg_jax.experiments.sweeps.program import Regions
from berg_jax.experiments.sweeps.spec import Spec, expand
from berg_jax.experiments.sweeps.trial import Trial, make_trial

BASE_NONE = 'base = {berg_dir = "demo", subject = 1}\n'
BASE = 'base = {berg_dir = "demo", subject = 1, drive = "FFA-1"}\n'


def parsed(text: str, base: str = BASE) -> Spec:
    return expand(tomllib.loads(base + text))


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


NOTHING = Regions(None, {}, {}, {"weights": "synthetic", "synthetic": True, "identity": "none"})


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def invoke(*arguments: object) -> tuple[int, str]:
    said = CliRunner().invoke(app, ["sweep", *map(str, arguments)])
    return said.exit_code, said.output


ONE_DEVICE = {"XLA_FLAGS": ""}  # the environment of a program that has no virtual ones
