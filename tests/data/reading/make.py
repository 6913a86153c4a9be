"""Write one file per pickle protocol with everything the safe reader takes. Needs torch.

python tests/data/reading/make.py FOLDER
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch


def everything():
    """Tensors of every type and layout, arrays, scalars and containers."""
    base = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(weight=torch.nn.Parameter(torch.arange(3.0)), bias=torch.zeros(2))
    state._metadata = OrderedDict({"": {"version": 1}})
    return {
        "float32": torch.linspace(-1, 1, 12).reshape(3, 4),
        "bfloat16": torch.linspace(-1, 1, 5).bfloat16(),
        "float16": torch.linspace(-1, 1, 5).half(),
        "float64": torch.linspace(-1, 1, 5).double(),
        "int64": torch.arange(5),
        "int32": torch.arange(5, dtype=torch.int32),
        "int16": torch.arange(5, dtype=torch.int16),
        "int8": torch.arange(5, dtype=torch.int8),
        "uint8": torch.arange(5, dtype=torch.uint8),
        "uint16": torch.arange(5).to(torch.uint16),
        "bool": torch.tensor([True, False]),
        "transposed": base.T,
        "strided": base[1:, ::2],
        "shared": base[0],
        "expanded": torch.ones(1).expand(7),
        "empty": torch.empty(0, 3),
        "zero_dimensional": torch.tensor(3.0),
        "state_dict": state,
        "array": np.arange(6).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty_array": np.array([], dtype=int),
        "big_endian": np.arange(3, dtype=">f4"),
        "strings": np.array(["ab", "cde"]),
        "objects": np.array([1, "x", None], dtype=object),
        "array_0d": np.array(3),
        "float_scalar": np.float32(3.5),
        "int_scalar": np.int64(7),
        "bool_scalar": np.bool_(True),
        "plain": [1, 2.5, "ü", None, True, (1, 2), b"xx", b"", {1, 2}, frozenset([3]), 1 + 2j, 2**80, -1],
        "nested": {"a": {"b": [np.arange(2)]}},
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for protocol in (2, 3, 4, 5):
        torch.save(everything(), folder / f"protocol{protocol}.pth", pickle_protocol=protocol)
