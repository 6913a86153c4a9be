from .checkpoints import Checkpoints
from .loop import Curves, TrainingOptions
from .losses import entropy, mean_squared_error, smooth_l1
from .optimizers import adamw
from .parametrizations import CoordinateNetworks, Parametrization, coordinates, free, read_coordinate_networks
from .soup import greedy_soup

__all__ = [
    "Checkpoints",
    "CoordinateNetworks",
    "Curves",
    "Parametrization",
    "TrainingOptions",
    "adamw",
    "coordinates",
    "entropy",
    "free",
    "greedy_soup",
    "mean_squared_error",
    "read_coordinate_networks",
    "smooth_l1",
]
