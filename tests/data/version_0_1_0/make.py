"""Write the samples of version 0.1.0: what commit 1a0a08e leaves on disk, finished and interrupted.

Run by that version, with its extras `test` and torch==2.13.0 (of CPU), from its repository:

    python tests/data/version_0_1_0/make.py FOLDER

All is made in a temporary folder by commands with relative paths, then packed: unpacked side by side the archives are
that folder again, so every recorded path and command is right from there. They are:

subject.tar.xz      golden subject 2, converted: berg-jax convert --berg-dir golden --subject 2 --num-heads 3
encodings.tar.xz    images/ and rows.npy (128 images), and responses to them: each once finished and once stopped by
                    --time-limit, the first between two blocks, the second in the middle of one
reducers.tar.xz     all kinds of reducers by two processes: reduced.zarr is finished, unmerged.zarr only computed
certificate.json    berg-jax verify --berg-dir golden --subject 2 --num-heads 3
sweeps.tar.xz       sweep.toml, four trials in two chunks: sweep/ is finished, sweep-stopped/ ended after the first
experiments.tar.xz  config.json of finished experiments; of retinotopy, localize, rsa and control also the numbers,
                    and stopped ones' whole folders, that of control in the middle of its search
synthesis.tar.xz    a checkpoint after 16 of 32 steps, and what came out
commands.json       the command that each experiment's config.json records
made.json           on what machine, by what versions

What was stopped holds the bits that a whole run on that machine would have; another processor rounds otherwise.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
MAIN = "from berg_jax.cli import main; main()"
INTERRUPTED = 75
AT_ONCE = "--time-limit 0.00001"  # minutes: after the first step
SUBJECT = "--berg-dir subject --subject 2"

SWEEP = """
[base]
berg_dir = "subject"
subject = 2
drive = "EBA"
suppress = "FBA-2"
start = "grey.png"
radius = 0.2
steps = 3
[grid]
images = ["fourier", "pixels"]
seed = [0, 1]
[launcher]
chunk = 2
"""
EXPERIMENTS = {
    "retinotopy": f"images {SUBJECT} --roi 'EBA + FBA-2' --grid 3 --fit --batch-size 2",
    "localize": f"images {SUBJECT} --roi 'EBA + FBA-2' --contrast 'faces > places' --batch-size 2",
    "rsa": f"images {SUBJECT} --roi EBA --roi FBA-2 --roi 'FBA-2 + EBA' --batch-size 2",
    "control": f"images {SUBJECT} --roi EBA --roi FBA-2 --kind multivariate --set-size 3 --population 8 "
    "--generations 20 --seed 5 --batch-size 2",
}
NUMBERS = (
    "results.json",
    "maps.npz",
    "similarities.npz",
    "images.csv",
    "rois.csv",
    "contrasts.csv",
)


def run(text: str, expected: int = 0) -> None:
    """A command, as one would give it in a shell."""
    print("berg-jax", text, flush=True)
    found = subprocess.run(
        [sys.executable, "-c", MAIN, *shlex.split(text)],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert found.returncode == expected, found


def machine() -> dict[str, Any]:
    """What the rounding of a program depends on, as far as Linux tells."""
    told = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in told)}
    found: dict[str, Any] = {name: facts.get(name) for name in ("model name", "cpu family", "model")}
    vectors = [flag for flag in facts.get("flags", "").split() if flag.startswith(("avx", "fma", "amx"))]
    return {**found, "vectors": sorted(vectors), "cores": os.cpu_count()}


def images() -> None:
    """Six of 32 × 32 pixels in two folders, 128 of 8 × 8 in an array, and a grey one; few levels, to be small."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    for number in range(6):
        kind, angle = ("faces", "places")[number // 3], number * np.pi / 6
        wave = np.hypot(x, y) if kind == "faces" else x * np.cos(angle) + y * np.sin(angle)
        pixels = 128 + 100 * np.sin((4 + 2 * number) * wave)[..., None] * np.roll([1, 0.5, -1], number)
        path = Path("images", kind, f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels // 16 * 16).astype(np.uint8)).save(path)
    counted = np.arange(128 * 3 * 8 * 8).reshape(128, 3, 8, 8)
    np.save("rows.npy", (counted // 7 * 37 % 251).astype(np.uint8))
    Image.new("RGB", (224, 224), (128, 128, 128)).save("grey.png")


def encodings() -> None:
    """Of the images in whole blocks; of the rows, one image at a time, in blocks of two."""
    of_images = f"encode images {SUBJECT} --batch-size 2"
    run(f"{of_images} --output finished.zarr")
    run(f"{of_images} --output stopped.zarr {AT_ONCE}", INTERRUPTED)
    of_rows = f"encode rows.npy {SUBJECT} --roi EBA --batch-size 1"
    run(f"{of_rows} --output rows-finished.zarr")
    run(f"{of_rows} --output rows-stopped.zarr {AT_ONCE}", INTERRUPTED)


def reducers() -> None:
    """By two processes, of which the last is kept from its end the second time."""
    import berg_jax
    from berg_jax.stream import loop
    from berg_jax.stream.devices import Process
    from berg_jax.stream.opening import open_source
    from berg_jax.stream.reducers import (
        GLM,
        ArgmaxOverProbes,
        Covariance,
        GroupMeans,
        Moments,
        RoiMeans,
        TopK,
        WeightedSums,
    )

    person = berg_jax.Subject("subject", 2)
    vertices = person.vertices("EBA")
    n, of_four = len(vertices), np.arange(128) % 4
    rois = np.eye(n, dtype=np.float32)[:2]
    sums = (np.arange(128)[:, None] % [3, 5] - 1).astype(np.float32)
    sinks = [
        ArgmaxOverProbes(8, 16, n),
        Covariance(n),
        GLM(np.eye(4)[of_four], [[1, -1, 0, 0]], n, names=["a > b"]),
        GroupMeans(np.arange(128) % 7 - 1, n),
        Moments(n),
        RoiMeans(rois, 128),
        TopK(3, rois),
        WeightedSums(sums, n),
    ]
    options = {
        "identity": person.identity(vertices),
        "batch_size": 16,
        "show_progress": False,
    }

    def share(output: str, index: int) -> None:
        model, source = person.model(vertices), open_source("rows.npy")
        loop.stream(model, source, sinks, output=output, process=Process(index, 2), **options)

    def die(*_: object) -> None:
        raise OSError("killed")

    for index in (0, 1):
        share("reduced.zarr", index)
    share("unmerged.zarr", 0)
    loop.finish = die
    try:
        share("unmerged.zarr", 1)
    except OSError:
        return
    raise AssertionError("it was to die")


def sweeps() -> None:
    """The whole, and what is left of it where the second of two processes did not come."""
    Path("sweep.toml").write_text(SWEEP)
    run("sweep sweep.toml --output sweep")
    run("sweep sweep.toml --output sweep-stopped --process-index 0 --process-count 2")
    for name in ("sweep", "sweep-stopped"):
        for left in ("report.html", "scores.png", "contact_sheet.png"):
            Path(name, left).unlink()
    for left in ("sweep.parquet", "config.json"):
        Path("sweep-stopped", left).unlink()


def experiments() -> dict[str, str]:
    """Each finished, of which numbers are kept, and stopped; and the commands that all record."""
    found = {}
    for name, options in EXPERIMENTS.items():
        run(f"{name} {options} --output finished/{name}")
        if name == "retinotopy":  # of whose blocks the first step is only a part
            run(f"{name} {options} --output stopped/{name} --process-index 0 --process-count 2")
        else:
            run(f"{name} {options} --output stopped/{name} {AT_ONCE}", INTERRUPTED)
    for _ in range(2):  # to the end of the responses, and one generation on
        run(
            f"control {EXPERIMENTS['control']} --output stopped/control {AT_ONCE}",
            INTERRUPTED,
        )
    assert Path("stopped/control/align-subj02.npz").exists()
    np.save("betas.npy", np.sin(np.arange(18 * 160)).reshape(18, 160).astype(np.float32))
    names = sorted(path.relative_to("images").as_posix() for path in Path("images").rglob("*.png"))
    rows = [f"{name},{session}" for session in (1, 2, 3) for name in names]
    Path("trials.csv").write_text("\n".join(["image,session", *rows]))
    run(f"accuracy images {SUBJECT} --betas betas.npy --table trials.csv --hemisphere lh --output finished/accuracy")
    run(
        f"synthesize {SUBJECT} --drive 'FFA-1 + FFA-2' --suppress PPA --images pixels --start grey.png --radius 2 "
        "--n 1 --steps 2 --learning-rate 0.02 --jitter 0 --output finished/synthesize"
    )
    # And as most users give them, on the demo subjects.
    run("retinotopy --berg-dir demo --subject 1 --roi 'V1 + hV4' --probes bars --output finished/retinotopy-demo")
    run("localize --berg-dir demo --subject 1 --subject 2 --roi FFA-1 --min-ncsnr 1 --output finished/localize-demo")
    run("rsa --berg-dir demo --subject 1 --roi FFA-1 --roi 'PPA - OPA' --output finished/rsa-demo")
    run("control --berg-dir demo --subject 1 --k 2 --margin 0.1 --output finished/control-demo")
    for path in sorted(Path("finished").glob("*/config.json")):
        found[path.parent.name] = json.loads(path.read_text())["command"]
    found["sweep"] = json.loads(Path("sweep/config.json").read_text())["command"]
    return found


def waves(images: Any) -> Any:
    """A model of images of 16 × 16 pixels, whose five vertices look for a pattern each; small and fast to compile."""
    import jax.numpy as jnp

    patterns = np.sin(np.arange(3 * 16 * 16 * 5) ** 1.5).reshape(3, 16, 16, 5).astype(np.float32) / 20
    return jnp.tanh(jnp.einsum("bchw,chwv->bv", images / 255 - 0.5, patterns, precision="highest"))


WEIGHTS = np.array([0.5, 0.5, 0, 0, 0], np.float32)
SYNTHESIS = {"n": 2, "steps": 32, "seed": 3, "show_progress": False}


def synthesis() -> None:
    """The checkpoint that is written after 16 steps, however many there are to be."""
    from berg_jax.experiments.synthesis.images import fourier
    from berg_jax.experiments.synthesis.objectives import mean
    from berg_jax.experiments.synthesis.optimize import optimize

    Path("synthesis").mkdir()
    result = optimize(waves, mean(WEIGHTS), fourier(16), **SYNTHESIS)
    np.savez(
        "synthesis/result.npz",
        images=result.images,
        values=result.values,
        history=result.history,
    )
    begun = {**SYNTHESIS, "steps": 16, "checkpoint": "synthesis/checkpoint.npz"}
    optimize(waves, mean(WEIGHTS), fourier(16), **begun)


def pack(folder: Path, name: str, paths: list[str]) -> None:
    """Paths of the temporary folder, always to the same bytes."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(folder / f"{name}.tar.xz", "w:xz", preset=9) as archive:
        for path in paths:
            archive.add(path, filter=plain)


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    names = ("berg_jax", "jax", "jaxlib", "numpy", "optax", "scipy")
    versions = {name: importlib.metadata.version(name) for name in names}
    made = {"commit": "1a0a08e", "versions": versions, "machine": machine()}
    with tempfile.TemporaryDirectory() as work:
        os.environ["BERG_JAX_CACHE"] = "cache"
        demo = os.environ.get("DEMO_CACHE")  # where demo subjects are already, to save a minute
        os.chdir(work)
        if demo:
            Path("cache").symlink_to(demo)
        shutil.copytree(
            GOLDEN,
            "golden",
            ignore=shutil.ignore_patterns("*01_part?.pth", "*subject-01*"),
        )
        run("convert --berg-dir golden --subject 2 --num-heads 3 --output subject")
        images()
        encodings()
        reducers()
        run("verify --berg-dir golden --subject 2 --num-heads 3 --output certificate")
        sweeps()
        commands = experiments()
        synthesis()
        shutil.copyfile("certificate/certificate.json", folder / "certificate.json")
        (folder / "commands.json").write_text(json.dumps(commands, indent=1) + "\n")
        (folder / "made.json").write_text(json.dumps(made, indent=1) + "\n")
        stores = [
            "finished.zarr",
            "stopped.zarr",
            "rows-finished.zarr",
            "rows-stopped.zarr",
        ]
        kept = [str(path) for path in sorted(Path("finished").glob("*/config.json"))]
        for name in EXPERIMENTS:
            kept += [str(path) for path in sorted(Path("finished", name).rglob("*")) if path.name in NUMBERS]
        pack(folder, "subject", ["subject"])
        pack(folder, "encodings", ["images", "rows.npy", *stores])
        pack(folder, "reducers", ["reduced.zarr", "unmerged.zarr"])
        pack(folder, "sweeps", ["sweep.toml", "grey.png", "sweep", "sweep-stopped"])
        pack(folder, "experiments", [*kept, "stopped"])
        pack(folder, "synthesis", ["synthesis"])
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>9,} {path.name}")


if __name__ == "__main__":
    main()
