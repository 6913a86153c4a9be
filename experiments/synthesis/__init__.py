"""Stimulus synthesis: images that drive or suppress regions, or match a pattern, by gradients or by search."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
