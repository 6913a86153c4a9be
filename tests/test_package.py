"""What is installed, and which module may import which."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Layers from the top down; a module imports only from its own layer's line or from lines below it.
LAYERS = [
    {"cli"},
    {"cli_benchmarks", "cli_experiments", "cli_sweep", "cli_synthesis"},
    {"cli_options"},
    {"experiments"},
    {"encoding", "berg"},
    {"stream", "subject", "surface"},
    {"surface_page"},
    {"surface_files"},
    {"surface_colors"},
    {"surface_drawing", "surface_spaces"},
    {"surface_names"},
    {"surface_meshes"},
    {"demo"},
    {"convert"},
    {"checkpoint"},
    {"gradients"},
    {"stacking"},
    {"model"},
    {"nn"},
]
# These import neither JAX nor Flax, and every layer but nn may import them.
LIGHT = {
    "batches",
    "berg_dir",
    "cards",
    "compiled",
    "environment",
    "errors",
    "fetch",
    "files",
    "gifti_files",
    "images",
    "metadata",
    "mirror",
    "numpy_files",
    "pickled_objects",
    "reading",
    "rois",
    "telling",
    "unpickling",
}


def modules() -> dict[str, Path]:
    places = {"berg_jax": ROOT / "berg_jax", "berg_jax.convert": ROOT / "convert"}
    places["berg_jax.experiments"] = ROOT / "experiments"
    found = {}
    for package, folder in places.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found[name] = path
    return found


def imports(name: str, path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | ({f"{base}.{alias.name}" for alias in node.names} if not node.module else set())
    return found


def layer(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "berg_jax" and len(parts) > 1 else None


def test_arrows_point_down() -> None:
    rank = {name: index for index, names in enumerate(LAYERS) for name in names}
    seen = set()
    for name, path in modules().items():
        own = layer(name)
        for target in imports(name, path):
            other = layer(target)
            if own is None or other is None or own == other:
                continue
            seen.add((own, other))
            if own in LIGHT:
                assert other in LIGHT, f"{name} imports {target}"
            elif other in LIGHT:
                assert own != "nn", f"{name} imports {target}"
            elif own == "subject" and other in ("convert", "demo"):
                assert target not in imports(name, path, top_level_only=True), f"{name} imports {target} at its top"
            else:
                assert rank[own] < rank[other], f"{name} imports {target}"
    assert ("model", "nn") in seen
    assert ("convert", "checkpoint") in seen


def test_every_module_has_a_layer() -> None:
    known = set().union(*LAYERS) | LIGHT
    assert {layer(name) for name in modules()} - {None} == known


def test_torch_stays_in_its_two_modules() -> None:
    users = {name for name, path in modules().items() if any(t.split(".")[0] == "torch" for t in imports(name, path))}
    assert users == {"berg_jax.convert.torch_reference", "berg_jax.convert.torch_benchmark"}


def test_light_modules_need_no_jax() -> None:
    for name, path in modules().items():
        if layer(name) in LIGHT:
            heavy = {t.split(".")[0] for t in imports(name, path)} & {"jax", "flax", "orbax", "torch"}
            assert not heavy - ({"jax"} if layer(name) in ("rois", "environment", "compiled") else set()), name
    program = (
        "import sys, berg_jax.reading, berg_jax.rois, berg_jax.berg_dir, berg_jax.files, berg_jax.cards, "
        "berg_jax.fetch, berg_jax.environment; print('jax' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("berg_jax", "convert", "experiments"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_s_top_level_names(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"berg_jax"}
    for needed in (
        "py.typed",
        "cards/fmri-nsd_fsaverage-huze.yaml",
        "convert/keys.py",
        "experiments/__init__.py",
        "nn/vit.py",
        "stream/loop.py",
    ):
        assert f"berg_jax/{needed}" in names
    sources = {name for name in names if name.endswith(".py")}
    assert sources == {
        "berg_jax/" + "/".join(path.relative_to(ROOT).parts[path.is_relative_to(ROOT / "berg_jax") :])
        for path in modules().values()
    }


def test_the_wheel_s_extras(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = wheel.read(name).decode()
    installs = (
        "cuda12",
        "cuda13",
        "tpu",
        "plot",
        "demo",
        "fast",
        "fetch",
        "synthesis",
        "sweep",
        "hf",
        "torch",
        "test",
    )
    for extra in installs:
        assert f"Provides-Extra: {extra}" in metadata
    assert "License-Expression: MIT" in metadata
    plain = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    heavy = ("torch", "matplotlib", "transformers", "optax", "pyarrow", "submitit")
    assert not [line for line in plain if any(name in line for name in heavy)]
