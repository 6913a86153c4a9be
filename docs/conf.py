"""Configuration of the documentation site: ``python -m sphinx -W --keep-going -b html docs docs/_build/html``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

import berg_jax  # noqa: E402

project = "berg_jax"
author = "The berg_jax authors"
copyright = "the berg_jax authors, MIT license"
version = release = berg_jax.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    # Ours, in extensions/: pages that are made while the site is built, and what needs no network.
    "pages",
    "roles",
    "mathml",
]
exclude_patterns = ["_build", "benchmarks/*.json", "extensions"]
suppress_warnings = ["mystnb.unknown_mime_type", "autosummary.import_cycle"]

# Pages are MyST markdown; notebooks are shown as they were run.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

# Docstrings.
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # roles.py writes signatures as they are in the source
autodoc_preserve_defaults = True
autodoc_mock_imports = [
    name for name in ("torch", "transformers", "safetensors", "obstore") if not importlib.util.find_spec(name)
]
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
python_maximum_signature_line_length = 88
add_module_names = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Every role that names something of ours must lead somewhere. Types in signatures and other packages' names are not.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:(class|obj|data)", r"(?!(~?berg_jax\.)).*"),
    (r"py:.*", r"(jax|jaxtyping|numpy|scipy|optax|flax|xarray|zarr|torch|typing|pathlib)\..*"),
]

html_theme = "pydata_sphinx_theme"
html_title = "berg_jax"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "berg_jax"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "navigation_depth": 3,
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
