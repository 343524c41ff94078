"""Take out the live-code header that Jupyter Book adds to every page: it points to an outside host."""

from typing import Any

from sphinx.application import Sphinx


def _remove(app: Sphinx, config: Any) -> None:
    for listeners in app.events.listeners.values():
        listeners[:] = [item for item in listeners if not item.handler.__module__.startswith("sphinx_thebe")]
    app.registry.css_files[:] = [item for item in app.registry.css_files if "thebe" not in item[0]]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", _remove)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
