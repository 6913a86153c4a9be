from .precision import precision_errors
from .speed import benchmark
from .stream import bench_stream

__all__ = [
    "bench_stream",
    "benchmark",
    "precision_errors",
]
