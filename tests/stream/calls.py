"""Calls of ``stream`` and ``encode_images`` with plain keywords, which become value objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import berg_jax
from berg_jax import Execution, Images, Selection
from berg_jax.stream import encode as encoding


def split(kind: type, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A value object of those keywords that are its fields, and the other keywords."""
    names = {field.name for field in fields(kind)} & set(keywords)
    others = {name: value for name, value in keywords.items() if name not in names}
    return kind(**{name: keywords[name] for name in names}), others


def executed(function: Callable[..., Any], *given: Any, **defaults: Any) -> Callable[..., Any]:
    """A function with some arguments given, of whose keywords those of an Execution become its ``execution``."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        execution, others = split(Execution, {**defaults, **keywords})
        return function(*given, *arguments, execution=execution, **others)

    return call


def encode_images(path: Path, berg_dir: Path | str, subject_id: int, output: Path | str, **keywords: Any) -> str:
    """An encoding, two images at a time on one device unless told otherwise, without a progress bar."""
    selection, others = split(Selection, keywords)
    execution, others = split(Execution, {"batch_size": 2, "devices": 1, "show_progress": False, **others})
    images = Images(path, others.pop("images", None), others.pop("fit", "error"), others.pop("layout", None))
    subject = berg_jax.Subject(berg_dir, subject_id)
    return encoding.encode_images(subject, images, output, selection=selection, execution=execution, **others)
