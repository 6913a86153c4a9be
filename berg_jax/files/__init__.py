"""Safe readers and writers of files, which execute nothing, and which write a file completely or not at all."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
