"""Neural control: images that drive two regions together or apart, and sets that align or disentangle them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
