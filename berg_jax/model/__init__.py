"""The encoding model: images to responses of chosen vertices, its gradients, and its checkpoint on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
