"""Safe readers and writers of files: nothing in a file is executed, and a file is whole or not there."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
