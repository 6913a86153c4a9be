"""Parameter sweeps: many syntheses from one file, in chunks, resumed and shared among workers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
