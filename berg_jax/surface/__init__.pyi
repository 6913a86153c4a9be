from .freesurfer import save_annot, save_labels
from .maps import FORMATS, read, save
from .page import Page, html
from .plotting import PICTURES, plot, write_gifti
from .pycortex import to_pycortex

__all__ = [
    "FORMATS",
    "PICTURES",
    "Page",
    "html",
    "plot",
    "read",
    "save",
    "save_annot",
    "save_labels",
    "to_pycortex",
    "write_gifti",
]
