from .csv_tables import read_table, write_table
from .npy import read_npy, read_npz
from .torch_archive import read_pickled_npy, read_torch, torch_record

__all__ = [
    "read_npy",
    "read_npz",
    "read_pickled_npy",
    "read_table",
    "read_torch",
    "torch_record",
    "write_table",
]
