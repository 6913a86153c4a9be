"""A subject's model, replaced."""

from __future__ import annotations

import pytest

from berg_jax.experiments.sweeps import worker as running

from .made import regions


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a subject's model, which takes longer to compile."""
    monkeypatch.setattr(running, "Subject", lambda *_: None)
    monkeypatch.setattr(running, "load_regions", regions)
