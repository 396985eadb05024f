"""Where values come from: file, environment, command line, merged into one tree that remembers the origin of every key."""

import difflib
import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from collector.config.problems import Location, Problem, dotted
from collector.errors import ConfigError

ENV_PREFIX = "OVERCURRENT_"


class Tree:
    """Values by key, later layers over earlier ones. `values` is plain dicts, lists and scalars."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[tuple[str, Problem]] = []
        """Mistakes found while reading, with their origins."""
        self._origins: dict[Location, str] = {}

    def add_file(self, path: Path) -> None:
        """Reads one YAML file. Raises ConfigError where it cannot be read or is not YAML."""
        try:
            text = path.read_text(encoding="utf-8")
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except OSError as error:
            raise ConfigError(f"{path}: cannot read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: is not UTF-8 text") from None
        except yaml.MarkedYAMLError as error:
            # the problem alone: the snippet of the file that PyYAML adds may hold a secret
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise ConfigError(f"{path}{line}: is not YAML: {error.problem}") from None
        except yaml.YAMLError:
            raise ConfigError(f"{path}: is not YAML: it holds characters that YAML forbids") from None
        if node is None:
            return
        values = _FileReader(self, path).read(node, ())
        if isinstance(values, dict):
            self.values = values
        else:
            raise ConfigError(f"{path}: must be a mapping of sections such as receivers and detectors")

    def add_env(self, env: Mapping[str, str], known: Collection[str]) -> None:
        """Takes `OVERCURRENT_SECTION__KEY` variables; `known` are the keys at the root.

        A name without `__` counts only when it is a key at the root or nearly one: Kubernetes sets names such as
        OVERCURRENT_PORT for a service called overcurrent, and those are none of ours.
        """
        for name in sorted(env):
            if not name.startswith(ENV_PREFIX):
                continue
            parts = name.removeprefix(ENV_PREFIX).lower().split("__")
            if len(parts) == 1 and parts[0] not in known:
                if difflib.get_close_matches(parts[0], known, n=1, cutoff=0.85):
                    self._set((parts[0],), env[name], name)
                continue
            location = tuple(int(part) if part.isdecimal() else part for part in parts)
            try:
                value = _from_text(env[name])
            except yaml.YAMLError:
                self.problems.append((name, Problem(location, "is neither plain text nor a YAML list or mapping")))
                continue
            self._set(location, value, name)

    def add_overrides(self, overrides: Mapping[str, Any], origin: str = "command line") -> None:
        """Takes dotted keys (`receivers.otlp_grpc`) or nested mappings. None means not given."""
        for key, value in overrides.items():
            self._override(tuple(key.split(".")), value, origin)

    def _override(self, location: Location, value: Any, origin: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                self._override((*location, *str(key).split(".")), inner, origin)
        elif value is not None:
            self._set(location, value, origin)

    def origin(self, location: Location) -> str:
        """Where the key, else the section around it, else a key below it, was given: `file:line`, a variable, the command line."""
        for length in range(len(location), 0, -1):
            if location[:length] in self._origins:
                return self._origins[location[:length]]
        return next((where for known, where in self._origins.items() if known[: len(location)] == location), "")

    def note(self, location: Location, origin: str) -> None:
        """Remembers where a key was given."""
        self._origins[location] = origin

    def _set(self, location: Location, value: Any, origin: str) -> None:
        self._origins = {known: where for known, where in self._origins.items() if known[: len(location)] != location}
        self._origins[location] = origin
        container: Any = self.values
        for part, following in itertools.pairwise(location):
            inner = _get(container, part)
            if not isinstance(inner, dict | list):
                inner = [] if isinstance(following, int) else {}
                if not _put(container, part, inner):
                    break
            container = inner
        else:
            last = location[-1]
            if _put(container, last, value):
                if isinstance(container, dict) and isinstance(last, str):
                    # a secret given here replaces one given by file in an earlier layer, and the other way round
                    container.pop(last.removesuffix("_file") if last.endswith("_file") else f"{last}_file", None)
                return
        self.problems.append((origin, Problem(location, "lists are numbered from 0 without gaps")))

    def lines(self, problems: list[Problem]) -> list[str]:
        """One line a mistake, those of reading first."""
        found = [*self.problems, *((self.origin(problem.location), problem) for problem in problems)]
        return [": ".join(filter(None, (origin, dotted(problem.location), problem.text))) for origin, problem in found]


def _get(container: Any, part: str | int) -> Any:
    if isinstance(container, list):
        return container[part] if isinstance(part, int) and part < len(container) else None
    return container.get(str(part))


def _put(container: Any, part: str | int, value: Any) -> bool:
    if isinstance(container, dict):
        container[str(part)] = value
        return True
    if not isinstance(part, int) or part > len(container):
        return False
    container[part : part + 1] = [value]
    return True


def _from_text(text: str) -> Any:
    if text[:1] in {"[", "{"}:
        return yaml.safe_load(text)
    return None if text == "null" else text


class _FileReader:
    """Turns YAML nodes into values and notes the line of each key."""

    def __init__(self, tree: Tree, path: Path) -> None:
        self.tree = tree
        self.path = path
        self.scalars = yaml.SafeLoader("")
        self.open: list[yaml.Node] = []

    def read(self, node: yaml.Node, location: Location) -> Any:
        where = f"{self.path}:{node.start_mark.line + 1}"
        self.tree._origins.setdefault(location, where)  # noqa: SLF001 — one mechanism in two classes
        if any(node is outer for outer in self.open):
            raise ConfigError(f"{where}: {dotted(location)}: refers to itself")
        if len(self.open) > 20:
            raise ConfigError(f"{where}: {dotted(location)}: is nested too deeply")
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, location)
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, location)
        finally:
            self.open.pop()

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        self.scalars.flatten_mapping(node)
        for key, value in node.value:
            line = f"{self.path}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{line}: {dotted(location)}: a key must be plain text")
            name, below = key.value, (*location, key.value)
            if name in values and own.count(name) > 1:
                self.tree.problems.append((line, Problem(below, "is given twice; remove one")))
            self.tree.note(below, line)
            values[name] = self.read(value, below)
        return values

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        try:
            value = self.scalars.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            self.tree.problems.append((f"{self.path}:{node.start_mark.line + 1}", Problem(location, "is not a value that YAML can read")))
            return None
        if isinstance(value, str) and str(location[-1] if location else "").endswith("_file"):
            # beside the file that names it, so that the service may be started from anywhere
            return str(self.path.parent / Path(value).expanduser())
        return value
