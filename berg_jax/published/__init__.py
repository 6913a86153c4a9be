"""The published model: model card, metadata, files and their download. Imports neither JAX nor PyTorch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
