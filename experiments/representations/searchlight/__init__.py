"""Searchlights: local patterns around each vertex, on the sphere or along the surface."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
