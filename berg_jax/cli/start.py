"""Entry point of ``berg-jax``, which handles signals before it imports anything that takes time."""

from __future__ import annotations

from .signals import install_handlers


def main() -> None:
    """Run the command line."""
    install_handlers()
    from .app import main as run

    run()
