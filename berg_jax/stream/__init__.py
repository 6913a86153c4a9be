"""The stream: images from a source, through a model, to a store of responses and through reducers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
