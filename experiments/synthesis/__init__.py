"""Stimulus synthesis: images that drive, suppress or match what regions do, by gradients or by search."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
