"""The certificate: proof that a converted model equals the PyTorch one, on this machine and these files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
