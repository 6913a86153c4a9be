"""Specifications of sweeps: which trials they mean, and what makes no sense is told with its key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from berg_jax.errors import BERGError, InvalidParameterError, ModelNotFoundError, ResourceError
from berg_jax.experiments.sweeps import records
from berg_jax.experiments.sweeps import submit as launching
from berg_jax.experiments.sweeps.spec import Spec, read_spec

from ...conftest import DATA
from .made import parsed


def settings(spec: Spec, *names: str) -> list[tuple]:
    return [tuple(trial.settings[name] for name in names) for trial in spec.trials]


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


def test_each_experiment_has_defaults_of_its_own() -> None:
    text = 'grid = {experiment = ["vary", "metamer", "explain"], photo = ["a.png"]}'
    vary, metamer, explain = (trial.settings for trial in parsed(text).trials)
    assert (vary["steps"], vary["guidance"], vary["strength"]) == (50, 0, 0.5)
    assert (metamer["steps"], metamer["apart"]) == (4096, 0)
    assert explain["method"] == "integrated-gradients"
    guided = parsed('grid = {prior = ["diffusion"]}').trials[0]
    assert (guided.settings["guidance"], guided.settings["steps"]) == (3, 256)
    # A default is the same trial as the same value written out.
    assert parsed('grid = {prior = ["diffusion"], guidance = [3]}').trials == [guided]


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
    "guidance": ("grid = {guidance = [1]}", "guidance mean nothing to experiment 'synthesize'"),
    "ascent": ("grid = {prior = ['diffusion'], jitter = [0]}", "jitter mean nothing to a prior"),
    "no photo": ("grid = {experiment = ['vary']}", "experiment 'vary' needs a photo"),
    "method": ("grid = {method = ['guess']}", "method must be one of gradient-times-input, integrated-gradients"),
    "matched": (
        "grid = {experiment = ['metamer'], photo = ['a.png'], suppress = ['PPA']}",
        "suppress mean nothing to experiment 'metamer'|takes no suppress",
    ),
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


def test_a_region_that_nobody_has_is_refused() -> None:
    golden = f'base = {{berg_dir = "{DATA / "golden"}", drive = "V3v"}}\ngrid = {{subject = [1, 2]}}\n'
    trials = parsed("zip = {suppress = [['V1v'], ['PPAX']]}", golden).trials
    with pytest.raises(InvalidParameterError, match="Invalid ROI: 'PPAX'"):
        launching.check_regions(trials)
    launching.check_regions(parsed("zip = {suppress = [['V1v'], ['PPA - EBA']]}", golden).trials)
    with pytest.raises(ModelNotFoundError):
        launching.check_regions(parsed("", golden.replace("[1, 2]", "[1, 7]")).trials)


def test_photographs_that_no_trial_can_take_are_refused(tmp_path: Path) -> None:
    """A missing photograph, one that is not square, a folder of two → refused before work; with a fit, taken."""
    wide, folder = tmp_path / "wide.png", tmp_path / "two"
    folder.mkdir()
    for path, size in ((wide, (12, 8)), (folder / "a.png", (8, 8)), (folder / "b.png", (8, 8))):
        Image.new("RGB", size).save(path)
    for photo, said in ((wide, "not square: 12 × 8"), (folder, "has 2"), (tmp_path / "none.png", "no file")):
        for settings in ("experiment = ['explain'], photo", "seed = [0, 1], start"):
            with pytest.raises(BERGError, match=said):
                launching.check_photos(parsed(f"grid = {{{settings} = ['{photo}']}}").trials)
    launching.check_photos(parsed(f"grid = {{start = ['{wide}'], fit_images = ['crop', 'pad']}}").trials)
