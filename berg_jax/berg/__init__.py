"""Interface of the published package BERG: a script for the PyTorch package runs after its import is changed.

from berg_jax import BERG

berg = BERG(berg_dir="path/to/berg_dir")
model = berg.get_encoding_model("fmri-nsd_fsaverage-huze", subject=1)
lh, rh = berg.encode(model, images)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
