from .arrays import ArraySource
from .folders import FolderSource, ListSource
from .generated import GeneratedSource
from .image_files import Source
from .open import open_source
from .subset import Subset
from .tars import TarSource

__all__ = [
    "ArraySource",
    "FolderSource",
    "GeneratedSource",
    "ListSource",
    "Source",
    "Subset",
    "TarSource",
    "open_source",
]
