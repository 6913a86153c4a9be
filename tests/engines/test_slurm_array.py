"""The documented array script on a real Slurm of two nodes: whatever befalls its tasks, one process's bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from berg_jax.stream.store.status import status_text

from ..conftest import Golden
from .cluster import Slurm, documented_script, wait_until
from .small import assert_same_bits, encode, images_for, ledger, owners, run, write_images

pytestmark = [pytest.mark.nightly, pytest.mark.engines, pytest.mark.timeout(2400)]
TASKS = 4
SHORT = ("--time=1", "--signal=TERM@5", "--gres=none")  # Slurm looks every 30 s, so the signal comes after 25 to 55 s


def array_script(images: Path, berg_dir: Path, output: Path) -> str:
    """The script of the documentation, with these files."""
    script = documented_script("how-to/slurm.md", "#SBATCH --array")
    for words, ours in (
        ("images.npy", images),
        ("path/to/berg_dir", berg_dir),
        (" --roi nsdgeneral", ""),
        ("responses.zarr", output),
    ):
        assert script.count(words) == 1
        script = script.replace(words, str(ours))
    return script


def test_an_array_that_was_cut_off_cancelled_and_killed_has_the_bits_of_one_process(
    overlay: Golden, slurm: Slurm, tmp_path: Path
) -> None:
    """Time limits, requeues, a cancelled task, a node that dies → the same bits as one process alone."""
    count = TASKS * images_for(50, overlay.folder, 1, tmp_path)
    images = write_images(tmp_path / "images.npy", count)
    alone, shared = tmp_path / "alone.zarr", tmp_path / "shared.zarr"
    run(encode(images, overlay.folder, 1, alone))
    script = array_script(images, overlay.folder, shared)

    job = slurm.submit(script, f"--array=0-{TASKS - 1}", *SHORT)
    cancelled, dying = f"{job}_1", f"{job}_0"
    wait_until(lambda: {0, 1} <= owners(shared), 600, slurm.said)
    slurm.run("scancel", cancelled)
    wait_until(lambda: dying in slurm.running(), 600, slurm.said)
    node = slurm.running()[dying]
    slurm.kill_node(node)
    wait_until(lambda: "due to failure of node" in slurm.log(), 300, slurm.log)
    slurm.start_node(node)
    slurm.wait()

    assert "CANCELLED" in slurm.facts(cancelled)["JobState"]
    said = slurm.said()
    assert "Interrupted: " in said
    assert all(int(slurm.facts(f"{job}_{task}")["Restarts"]) > 0 for task in (0, 2, 3)), said
    assert "Traceback" not in said
    done = ledger(shared)
    assert 0 < sum(done.values()) < count  # what the cancelled task owes
    assert "under way" in status_text(shared)

    slurm.submit(script, "--array=1", "--gres=none", "--time=60")  # without a limit that is met
    slurm.wait()
    assert owners(shared) >= {0, 1, 2, 3}
    assert_same_bits(shared, alone)
