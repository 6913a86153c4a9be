"""Sources of images: folders, lists, arrays, tar shards, and images generated on the device."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
