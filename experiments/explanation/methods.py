"""Names of the attribution methods, and of the two that a report shows by default."""

from __future__ import annotations

from typing import Literal

Method = Literal["gradient-times-input", "integrated-gradients", "smooth-grad", "occlusion"]
DEFAULT_METHODS: tuple[Method, ...] = ("integrated-gradients", "occlusion")
