"""Reports of experiments: the page, the maps and numbers, the pictures, and the command that repeats them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
