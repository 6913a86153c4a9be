from .experiment import control_regions

__all__ = [
    "control_regions",
]
