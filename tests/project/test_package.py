"""What is installed, and which module may import which."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import networkx
import pytest

from ..conftest import ROOT

# From the top down. A module imports from its own folder and from rows below its own, never from above or beside.
ROWS = (
    {"cli"},
    {"experiments"},
    {"berg"},
    {"stream"},
    {"subject"},
    {"surface", "demo"},
    {"convert"},
    {"model"},
    {"machine", "rois"},
    {"published"},
    {"vertices", "files"},
    {"errors"},
)
RANK = {name: index for index, names in enumerate(ROWS) for name in names}
WITHOUT_JAX = {"published", "vertices", "files", "errors"}
TORCH = {
    "berg_jax.experiments.synthesis.priors.pipelines",
    "berg_jax.model.bridge",
    "berg_jax.model.tensors",
    *(f"berg_jax.convert.torch_{name}" for name in ("layers", "reference", "benchmark")),
}
FOLDERS = {"berg_jax": "berg_jax", "berg_jax.convert": "convert", "berg_jax.experiments": "experiments"}
MOST_ENTRIES = 16


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; of a folder's face, the stub, which says what it imports."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found[name] = path.with_suffix(".pyi") if path.with_suffix(".pyi").exists() else path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """What a module imports, whether at its top, inside functions or for type checkers only."""
    path = MODULES[name]
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
    return found - {name}


def row(name: str) -> int | None:
    """The row of a module; None of the package's own face and of what is not ours."""
    parts = name.split(".")
    return RANK[parts[1]] if parts[0] == "berg_jax" and len(parts) > 1 else None


def test_arrows_point_down() -> None:
    arrows = [(name, target) for name in MODULES for target in imports(name) if None not in (row(name), row(target))]
    assert ("berg_jax.model.programs", "berg_jax.model.nn.vit") in arrows
    up = [
        (name, target)
        for name, target in arrows
        if name.split(".")[1] != target.split(".")[1] and not row(name) < row(target)
    ]
    assert up == []


def test_no_circle() -> None:
    arrows = networkx.DiGraph([(name, target) for name in MODULES for target in imports(name) if target in MODULES])
    arrows.remove_node("berg_jax")  # the face, which holds names of all others
    assert list(networkx.simple_cycles(arrows)) == []


def test_torch_stays_in_its_modules() -> None:
    users = {name for name in MODULES if any(target.split(".")[0] == "torch" for target in imports(name))}
    assert users == TORCH


def test_what_knows_no_jax_imports_none() -> None:
    for name in MODULES:
        if name.count(".") and name.split(".")[1] in WITHOUT_JAX:
            assert not {target.split(".")[0] for target in imports(name)} & {"jax", "flax", "orbax", "torch"}, name
    light = ", ".join(name for name in MODULES if name.count(".") and name.split(".")[1] in (*WITHOUT_JAX, "rois"))
    program = f"import sys, berg_jax, {light}, berg_jax.cli.app; print('jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_short_names_are_the_same_modules() -> None:
    program = (
        "import sys, berg_jax, berg_jax.synthesis as short; assert 'jax' not in sys.modules\n"
        "from berg_jax import synthesis, fitting; import berg_jax.experiments.synthesis as long\n"
        "import berg_jax.fitting, berg_jax.experiments.fitting as long_fitting; assert fitting is long_fitting\n"
        "assert short is synthesis is long\n"
        "from berg_jax.synthesis import optimize; import berg_jax.synthesis.search.evolution as a\n"
        "import berg_jax.experiments.synthesis.search.evolution as b\n"
        "assert a is b and a.__spec__.name == b.__name__ and short.optimize is optimize\n"
        "try:\n    import berg_jax.synthesis.nothing\n"
        "except ModuleNotFoundError as error:\n    print('berg_jax.experiments.synthesis.nothing' in str(error))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "True", result.stderr


def test_a_face_gives_what_it_names() -> None:
    for name, path in MODULES.items():
        if path.suffix == ".pyi":
            face = importlib.import_module(name)
            assert face.__all__
            assert [public for public in face.__all__ if not hasattr(face, public)] == []


def test_no_folder_is_crowded() -> None:
    folders = [ROOT / "tests", *(ROOT / folder for folder in FOLDERS.values())]
    folders += [path for folder in folders for path in folder.rglob("*") if path.is_dir()]
    ours = [path for path in folders if not {"data", "__pycache__"} & set(path.relative_to(ROOT).parts)]
    counts = {str(path): sum(entry.name != "__pycache__" for entry in path.iterdir()) for path in ours}
    assert {folder: count for folder, count in counts.items() if count > MOST_ENTRIES} == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    for name in FOLDERS.values():
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_s_files(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"berg_jax"}
    assert {"berg_jax/py.typed", "berg_jax/published/fmri-nsd_fsaverage-huze.yaml"} <= set(names)
    assert {name for name in names if name.endswith((".py", ".pyi"))} == {
        "berg_jax/" + "/".join(path.relative_to(ROOT).parts[folder == "berg_jax" :])
        for folder in FOLDERS.values()
        for path in (ROOT / folder).rglob("*.py*")
        if path.suffix in (".py", ".pyi")
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
        "diffusers",
        "test",
    )
    for extra in installs:
        assert f"Provides-Extra: {extra}" in metadata
    assert "License-Expression: MIT" in metadata
    plain = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    heavy = ("torch", "matplotlib", "transformers", "optax", "pyarrow", "submitit")
    assert not [line for line in plain if any(name in line for name in heavy)]
