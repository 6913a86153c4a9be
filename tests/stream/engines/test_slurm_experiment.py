"""An experiment that the tasks of an array share, on a real Slurm: receptive fields, mapped by probing the model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ...conftest import Golden
from .cluster import Slurm, documented_script, wait_until
from .small import owners, run

pytestmark = [pytest.mark.nightly, pytest.mark.engines, pytest.mark.timeout(2400)]


def test_an_experiment_that_is_stopped_and_loses_a_node_has_the_maps_of_one_process(
    complement: Golden, slurm: Slurm, tmp_path: Path
) -> None:
    """Two tasks share an experiment, one is stopped and requeued, one loses its node → one process's maps."""
    photographs = np.random.default_rng(1).integers(0, 256, (8, 3, 224, 224), dtype=np.uint8)
    np.save(tmp_path / "photographs.npy", photographs)
    alone, shared = tmp_path / "alone", tmp_path / "shared"

    def command(output: Path) -> list[str]:
        images, folder = str(tmp_path / "photographs.npy"), str(complement.folder)
        return f"berg-jax retinotopy {images} --berg-dir {folder} --subject 2 --grid 8 --output {output}".split()

    run(command(alone))
    script = documented_script("how-to/slurm.md", "#SBATCH --array")
    line = re.search(r"srun berg-jax encode .* --share .*\n", script)[0]
    script = script.replace(line, f"srun {' '.join(command(shared))} --share\n")

    job = slurm.submit(script, "--array=0-1", "--gres=none", "--time=30")
    stopped, dying = f"{job}_0", f"{job}_1"
    wait_until(lambda: {0, 1} <= owners(shared / "stream"), 600, slurm.said)
    slurm.run("scancel", "--signal=TERM", stopped)  # to the step, as before a time limit
    node = slurm.running()[dying]
    slurm.kill_node(node)
    wait_until(lambda: int(slurm.facts(stopped)["Restarts"]), 120, slurm.said)
    wait_until(lambda: int(slurm.facts(dying)["Restarts"]), 300, slurm.log)
    slurm.start_node(node)
    slurm.wait()

    said = slurm.said()
    assert "Traceback" not in said
    assert "Interrupted: " in said
    maps, expected = (np.load(folder / "maps.npz") for folder in (shared, alone))
    assert set(maps) == set(expected)
    # A mean's rounding depends on the number of processes, as the documentation says; what is best does not.
    np.testing.assert_allclose(maps["probe_quality"], expected["probe_quality"], rtol=1e-6)
    for name in set(expected) - {"probe_quality"}:
        np.testing.assert_array_equal(maps[name], expected[name], err_msg=name)
    agreement, known = (json.loads((folder / "results.json").read_text())["agreement"] for folder in (shared, alone))
    assert agreement == known
