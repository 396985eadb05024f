"""Finds the files that people and machines read beside the code: `rules/` and `grafana/`.

An installed wheel carries them inside the package; a checkout has them at its root.
"""

from functools import cache
from pathlib import Path
from typing import Final

from collector.errors import ConfigError, NotFound

_PACKAGE: Final = Path(__file__).parent
_PLACES: Final = (_PACKAGE / "_shipped", _PACKAGE.parent)


@cache
def rules() -> Path:
    """The folder with the taxonomy, rules, templates and runbooks."""
    return _find("rules", "taxonomy.yml")


@cache
def grafana() -> Path:
    """The folder with dashboards and provisioning."""
    return _find("grafana", "fleet.yml")


def runbook(name: str) -> str:
    """A runbook's Markdown by the name that alerts link to. Raises NotFound."""
    known = {path.stem: path for path in (rules() / "runbooks").glob("*.md")}
    if name not in known:  # a look-up, not a path: the name comes from a URL
        raise NotFound(f"no runbook {name!r}; there are: {', '.join(sorted(known))}")
    return known[name].read_text(encoding="utf-8")


def _find(folder: str, landmark: str) -> Path:
    for place in _PLACES:
        if (place / folder / landmark).is_file():
            return place / folder
    raise ConfigError(f"{folder}/{landmark}: not found beside the program; install overcurrent again")
