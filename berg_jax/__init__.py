"""The fMRI encoding model fmri-nsd_fsaverage-huze in JAX: images → responses of cortical vertices.

Public names are imported on first use, so importing the package is instant and requires neither JAX nor PyTorch.
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

import lazy_loader

__version__ = "0.1.0"
_EXPERIMENTS = ("synthesis", "fitting")  # that have a short name

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Short(MetaPathFinder, Loader):
    """Finder of experiments by a short name, as in ``import berg_jax.synthesis``: the same modules, not copies."""

    def find_spec(self, name, path=None, target=None):
        package, _, rest = name.partition(".")
        return ModuleSpec(name, self) if package == __name__ and rest.split(".")[0] in _EXPERIMENTS else None

    def create_module(self, spec):
        module = importlib.import_module(spec.name.replace(__name__, f"{__name__}.experiments", 1))
        spec.loader_state = module.__spec__  # which the import system replaces
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.insert(0, _Short())  # before the one that would load copies
