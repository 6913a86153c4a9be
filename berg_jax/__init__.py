"""The fMRI encoding model fmri-nsd_fsaverage-huze in JAX: images → responses of cortical vertices.

Public names are imported on first use, so importing the package is instant and requires neither JAX nor PyTorch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
