from .maps import FORMATS, read, save
from .page import Page, html
from .plotting import PICTURES, plot, write_gifti

__all__ = [
    "FORMATS",
    "PICTURES",
    "Page",
    "html",
    "plot",
    "read",
    "save",
    "write_gifti",
]
