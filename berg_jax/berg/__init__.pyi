from .interface import BERG
from .model import BERGModel
from .validators import InvalidSelectionError

__all__ = ["BERG", "BERGModel", "InvalidSelectionError"]
