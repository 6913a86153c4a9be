"""Targets that regions are compared with: features, layers, embeddings and matrices from files; stock networks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
