"""Sphinx configuration: `python -m sphinx -W docs site` builds the pages without the network.

The tutorials are notebooks as text (MyST-NB): a build executes them. `-D nb_execution_mode=off` leaves that out.
"""

import os

from raysynth.version import __version__

os.environ.setdefault("RAYSYNTH_QUIET", "1")  # progress of the notebooks is no part of their pages

project = "raysynth"
copyright = "the raysynth authors"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb"}
exclude_patterns = ["README.md", "jupyter_execute", "pictures.py"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 180
nb_execution_raise_on_error = True
nb_merge_streams = True
html_theme = "furo"
html_title = "raysynth"
html_show_sphinx = False
html_static_path = ["_static"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the signature and the text of each argument say it
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
