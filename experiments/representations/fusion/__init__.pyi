from .clusters import Cluster, Fusion, fuse_over_time
from .experiment import fuse

__all__ = ["Cluster", "Fusion", "fuse", "fuse_over_time"]
