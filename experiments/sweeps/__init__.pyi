from .spec import Spec, read_spec
from .submit import sweep

__all__ = [
    "Spec",
    "read_spec",
    "sweep",
]
