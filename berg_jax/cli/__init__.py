"""The command line, ``berg-jax``: one thin function for each command."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
