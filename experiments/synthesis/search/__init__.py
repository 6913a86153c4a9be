"""Search without gradients: evolution of images or of sets of images, and search in response stores."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
