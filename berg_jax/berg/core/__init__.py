"""Module paths of the published package BERG, for scripts that import from them.

``from berg.core.exceptions import ModelLoadError`` becomes
``from berg_jax.berg.core.exceptions import ModelLoadError``.
"""
