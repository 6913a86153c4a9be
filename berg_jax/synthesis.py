"""Stimulus synthesis under a short name: ``berg_jax.synthesis`` is :mod:`berg_jax.experiments.synthesis`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from .experiments import synthesis

_SHORT, _LONG = f"{__name__}.", f"{synthesis.__name__}."


class _Alias(MetaPathFinder, Loader):
    """Finder of modules under the short name: they are those of the long one, not copies."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name.startswith(_SHORT) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(_LONG + spec.name.removeprefix(_SHORT))
        spec.loader_state = module.__spec__  # which the import system replaces
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.insert(0, _Alias())
sys.modules[__name__] = synthesis
