"""The dashboards as files: what `generate-dashboard` writes, for all of them."""

import io
from pathlib import Path

from grafanalib import _gen

from dashboards.grafana11 import Dashboard


def dashboards() -> list[Dashboard]:
    """The dashboard of every *.dashboard.py beside this file, in the order of their names."""
    here = Path(__file__).parent
    return [_gen.loader(str(file)) for file in sorted(here.glob(f"*{_gen.DASHBOARD_SUFFIX}"))]


def dashboard_files() -> dict[str, str]:
    """Relative path (dashboards/UID.json) -> the dashboard as Grafana 11.6 imports it."""
    files = {}
    for dashboard in dashboards():
        text = io.StringIO()
        _gen.write_dashboard(dashboard, text)
        files[f"dashboards/{dashboard.uid}.json"] = text.getvalue()
    return files
