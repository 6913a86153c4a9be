from .experiment import map_retinotopy
from .probes import Probes, bars, gaussians, probe_source, rings, wedges
from .receptive_fields import Fit, agreement, fit, model_centers, polar

__all__ = [
    "Fit",
    "Probes",
    "agreement",
    "bars",
    "fit",
    "gaussians",
    "map_retinotopy",
    "model_centers",
    "polar",
    "probe_source",
    "rings",
    "wedges",
]
