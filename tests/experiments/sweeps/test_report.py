"""A sweep's sheets and axes: the best of each group, summed up."""

from __future__ import annotations

import numpy as np
from scipy import stats

from berg_jax.experiments.sweeps import report, tables
from berg_jax.experiments.sweeps.spec import varying

from .made import BASE_NONE, parsed


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
    values = np.add.outer(np.arange(8, 11), np.arange(15)).ravel()
    low, high = stats.t.interval(0.95, 44, values.mean(), stats.sem(values))
    shown = f"{low:.3f} to {high:.3f}"
    assert report._summary("seed", "8 to 10", seed.groups["8 to 10"]) == (
        "seed",
        "8 to 10",
        45,
        45,
        16.0,
        shown,
        24.0,
    )
    assert sum(map(len, seed.groups.values())) == len(rows)
    assert list(jitter.groups) == ["0", "8"]  # numbers in their order
    assert report._summary("jitter", "8", jitter.groups["8"]) == ("jitter", "8", 0, 300, None, "–", None)
    assert list(drive.groups) == [f"V{n}" for n in range(14, 2, -1)]
    assert drive.note == "The 12 values of drive with the best trials are shown, out of 15."
    assert (len(margin.groups), next(iter(margin.groups))) == (12, "none")
