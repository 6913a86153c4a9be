"""Compiled programs kept for the next process, which then starts at once."""

from __future__ import annotations

from .berg_dir import cache_folder


def keep_compiled() -> None:
    """Have JAX keep what it compiles for GPUs and TPUs in the cache folder, unless it has a place for it already.

    Not for CPUs: there the code is for one kind of processor, which the machines that share a home folder need not
    have, and a processor's own programs are often refused (JAX issue 38445).
    """
    import jax

    if jax.default_backend() != "cpu" and jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
