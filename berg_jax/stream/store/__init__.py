"""The output of a run: responses in zarr with named coordinates, the ledger of finished blocks, and the status."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
