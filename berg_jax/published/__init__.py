"""The published model: its card, its files, its metadata, and how to get them. Imports neither JAX nor PyTorch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
