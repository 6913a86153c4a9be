"""The encoding model: images to responses of selected vertices, pixel gradients, and converted subjects on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
