from .arrays import ArraySource, Subset
from .generated import GeneratedSource
from .image_files import FolderSource, ListSource, Source
from .open import open_source
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
