"""Targets of fuzzing: for each kind of file that is read, small valid ones, and the call that reads it.

To add a kind, write ``seeds`` and ``read`` in the module of its like, and a line in that module's list.
"""

from __future__ import annotations

from . import experiments, outputs, published, sources, subjects

TARGETS = {
    target.name: target
    for module in (published, sources, outputs, subjects, experiments)
    for target in module.TARGETS
}
