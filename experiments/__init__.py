"""In silico experiments: each takes a subject and images, and writes maps, numbers, pictures and a report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
