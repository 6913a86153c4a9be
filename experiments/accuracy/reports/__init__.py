"""Parts of the accuracy report: maps and medians, r² against the noise ceiling, and other runs side by side."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
