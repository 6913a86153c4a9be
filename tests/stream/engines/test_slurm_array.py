"""The documented array script on a real Slurm of two nodes: whatever befalls its tasks, one process's bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from berg_jax.stream.store.status import status_text

from ...conftest import Golden
from .cluster import Slurm, documented_script, wait_until
from .small import BATCH, assert_same_bits, encode, ledger, owners, run, write_images

pytestmark = [pytest.mark.nightly, pytest.mark.engines, pytest.mark.timeout(2400)]
TASKS = 4
# Slurm looks every 30 s: its signal comes 85 to 115 s after the start. A task's images take 140 s to read.
SHORT = ("--time=2", "--signal=TERM@5", "--gres=none")
IMAGES = TASKS * 70 * BATCH


def array_script(images: Path, berg_dir: Path, output: Path) -> str:
    """The script of the documentation, with these files."""
    script = documented_script("how-to/slurm.md", "#SBATCH --array")
    for words, ours in (
        ("images.npy", images),
        ("path/to/berg_dir --subject 1", f"{berg_dir} --subject 2"),
        (" --roi nsdgeneral", ""),
        ("responses.zarr", output),
    ):
        assert script.count(words) == 1
        script = script.replace(words, str(ours))
    return script


def test_an_array_that_was_cut_off_cancelled_and_killed_has_the_bits_of_one_process(
    complement: Golden, slurm: Slurm, tmp_path: Path
) -> None:
    """Time limits, requeues, a cancelled task, a node that dies → the same bits as one process alone."""
    images = write_images(tmp_path / "images.npy", IMAGES)
    alone, shared = tmp_path / "alone.zarr", tmp_path / "shared.zarr"
    run(encode(images, complement.folder, 2, alone))
    script = array_script(images, complement.folder, shared)

    job = slurm.submit(script, f"--array=0-{TASKS - 1}", *SHORT)
    cancelled, dying = f"{job}_1", f"{job}_0"
    wait_until(lambda: {0, 1} <= owners(shared), 600, slurm.said)
    slurm.run("scancel", cancelled)
    wait_until(lambda: dying in slurm.running(), 600, slurm.said)
    node = slurm.running()[dying]
    slurm.kill_node(node)
    wait_until(lambda: f"requeue job JobId={dying}" in slurm.log(), 120, slurm.log)  # by Slurm itself
    slurm.start_node(node)
    slurm.wait()

    assert "CANCELLED" in slurm.facts(cancelled)["JobState"]
    said = slurm.said()
    assert said.count("Interrupted: ") >= 2  # the two that are left
    assert "Traceback" not in said
    assert all(int(slurm.facts(f"{job}_{task}")["Restarts"]) > 0 for task in (0, 2, 3)), said
    assert 0 < sum(ledger(shared).values()) < IMAGES  # the cancelled task owes the rest
    assert "under way" in status_text(shared)

    again = script.replace("--share", f"--process-index 1 --process-count {TASKS}")
    slurm.submit(again, "--array=1", "--gres=none", "--time=60")
    slurm.wait()
    assert owners(shared) == set(range(TASKS))
    assert_same_bits(shared, alone)
