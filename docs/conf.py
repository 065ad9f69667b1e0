"""Sphinx's settings for the site of these pages; `make site` builds it."""

from plugspace_queue import __version__

project = "plugspace_queue"
author = copyright = "The plugspace_queue maintainers"
version = release = __version__

extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"plugspace queue {__version__}"
html_show_sphinx = False

# Headings are addressed as in the repository: [text](page.md#the-words-of-the-heading).
myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]
