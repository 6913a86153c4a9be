from .precision import precision_errors
from .speed import benchmark
from .stores import bench_store
from .stream import bench_stream

__all__ = [
    "bench_store",
    "bench_stream",
    "benchmark",
    "precision_errors",
]
