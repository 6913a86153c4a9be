"""Outputs of several processes, made one: the bits of a whole run, and what is missing or doubled is said."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from berg_jax.errors import (
    IntegrityError,
    ModelNotFoundError,
    ResourceError,
    ValidationError,
)
from berg_jax.stream import loop
from berg_jax.stream.execution import Process
from berg_jax.stream.merge import merge_output
from berg_jax.stream.reducers import (
    GLM,
    ArgmaxOverProbes,
    Covariance,
    GroupMeans,
    Moments,
    RoiMeans,
    TopK,
    WeightedSums,
    states,
)
from berg_jax.stream.reducers import saved as settings
from berg_jax.stream.store.status import status_text

from .numbered import COLUMNS, EXPECTED, Source, Sum, assert_each_once, responses, run


def of_all_kinds() -> list:
    random = np.random.default_rng(0)
    rois = np.eye(5, dtype=np.float32)[:2]
    groups = np.arange(300) % 7 - 1
    design = np.eye(3)[np.arange(300) % 3]
    return [
        ArgmaxOverProbes(10, 30, 5),
        Covariance(5),
        GLM(design, [[1, -1, 0]], 5, names=["a > b"]),
        GroupMeans(groups, 5),
        Moments(5),
        RoiMeans(rois, 300),
        TopK(3, rois),
        WeightedSums(random.normal(size=(300, 2)).astype(np.float32), 5),
    ]


@pytest.mark.nightly
def test_a_run_that_no_process_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last block and the end, it is merged without the model to the bits of a whole run."""
    options = {"devices": jax.devices()[:2]}
    whole = run(Source(), [COLUMNS, *of_all_kinds()], output=tmp_path / "whole.zarr", **options)
    output = tmp_path / "o.zarr"

    def die(*_: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "finish", die)
        with pytest.raises(OSError, match="killed"):
            run(Source(), [COLUMNS, *of_all_kinds()], output=output, **options)
    assert "300 of 300 images done" in status_text(output)
    assert "to be finished (berg-jax merge)" in status_text(output)
    assert "is complete now: 300 images" in merge_output(output)
    for name, arrays in whole.items():
        with np.load(output / "reducers" / f"{name}.npz") as stored:
            assert set(stored.files) == set(arrays)
            for key, value in arrays.items():
                np.testing.assert_array_equal(stored[key], value, err_msg=f"{name} {key}")
    np.testing.assert_array_equal(responses(output), EXPECTED)
    assert "complete already" in merge_output(output)
    assert set(run(Source(), [COLUMNS, *of_all_kinds()], output=output)) == set(whole)


def test_three_processes_have_one_s_best_probes_to_the_bit_and_its_moments_but_for_rounding(tmp_path: Path) -> None:
    """As the documentation says of ``probe_quality``, which is made of both."""
    source, sinks = Source(count=60), [ArgmaxOverProbes(15, 4, 5), Moments(5)]
    alone, shared = (
        [
            run(source, sinks, output=tmp_path / str(count), devices=jax.devices()[:1], process=Process(index, count))
            for index in range(count)
        ][-1]
        for count in (1, 3)
    )
    for key, value in alone["argmax_over_probes"].items():
        np.testing.assert_array_equal(shared["argmax_over_probes"][key], value, err_msg=key)
    assert shared["moments"]["count"] == alone["moments"]["count"] == 60
    for key in ("mean", "std"):
        np.testing.assert_allclose(shared["moments"][key], alone["moments"][key], rtol=0, atol=1e-7)


def test_merging_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "o.zarr"
    with pytest.raises(ModelNotFoundError, match="Give the output of a run"):
        merge_output(output)
    share = partial(run, Source(), [Moments(5), Sum()], output=output, devices=jax.devices()[:1])
    assert share(process=Process(0, 2)) == {}
    with pytest.raises(ResourceError, match=r"37 of 75 blocks are missing, of images 4–7, 12–15, .*, …\. Run the"):
        merge_output(output)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "finish", lambda *_: None)
        with pytest.raises(
            ResourceError, match="are not there"
        ):  # nothing was finished, so there are no results to load
            share(process=Process(1, 2))
    with pytest.raises(ResourceError, match="'sum' is none of this package"):
        merge_output(output)
    stored = output / "reducers" / "settings" / "moments.npz"
    for damage in (stored.read_bytes()[:100], b""):
        stored.write_bytes(damage)
        with pytest.raises(IntegrityError, match=r"moments\.npz is damaged"):
            merge_output(output)
    results = share()  # which needs no settings
    assert_each_once(results)
    np.testing.assert_allclose(results["moments"]["mean"], EXPECTED.astype(np.float64).mean(0), atol=1e-6)


def test_settings_of_another_run(tmp_path: Path) -> None:
    """The settings that are on the disk are the run's, or refused."""
    settings.save(tmp_path, [Moments(5)])
    (made,) = settings.load(tmp_path, {"moments": Moments(5).fingerprint})
    assert made.vertices == 5
    with pytest.raises(IntegrityError, match="not the run's"):
        settings.load(tmp_path, {"moments": Moments(6).fingerprint})


def test_two_processes_that_did_the_same_work_are_noticed(tmp_path: Path) -> None:
    output = tmp_path / "o.zarr"
    assert run(Source(), [Sum()], output=output, devices=jax.devices()[:1], process=Process(0, 2)) == {}
    (state,) = (output / "reducers").glob("*.state.npz")
    state.with_name("copy.state.npz").write_bytes(state.read_bytes())
    with pytest.raises(ValidationError, match="both hold block 0"):
        run(Source(), [Sum()], output=output)
    state.with_name("copy.state.npz").write_bytes(b"PK")
    with pytest.raises(IntegrityError, match=r"copy\.state\.npz is damaged"):
        states.reduced_blocks(output / "reducers")
