"""Discovery of plugins through entry points, and the registry of components by kind and name.

`python -m core.plugins` lists what there is.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import pluggy

from . import hookspecs
from .components import KINDS, Component, Shapes
from .errors import ConfigError, Problem, UserError, nearest
from .settings import Checker, Spec, show

GROUP = hookspecs.PROJECT


@dataclass(frozen=True)
class Registered:
    component: type[Component]
    package: str
    version: str


@dataclass
class Registry:
    """Components by (kind, name), the plugin manager they came through, and the plugins that failed to load."""

    manager: pluggy.PluginManager
    found: dict[tuple[str, str], Registered] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add_plugin(self, plugin: object, package: str, release: str = "") -> None:
        """Register a module or object that implements hooks. Raises UserError for a name that is taken."""
        known = set(self.found)
        self.manager.register(plugin)
        try:
            self.manager.check_pending()
            for kind in KINDS:
                hook = getattr(self.manager.hook, f"register_{_plural(kind)}")
                others = [other for other in self.manager.get_plugins() if other is not plugin]
                caller = self.manager.subset_hook_caller(hook.name, others)
                caller(register=lambda component, kind=kind: self._add(kind, component, package, release))
        except Exception:
            self.manager.unregister(plugin)
            self.found = {key: value for key, value in self.found.items() if key in known}
            raise

    def remove_plugin(self, plugin: object, package: str) -> None:
        self.manager.unregister(plugin)
        self.found = {key: value for key, value in self.found.items() if value.package != package}

    def _add(self, kind: str, component: type[Component], package: str, release: str) -> None:
        if not (isinstance(component, type) and issubclass(component, KINDS[kind])):
            raise UserError(f"{package}: register_{_plural(kind)} was given {component!r}, not a {kind} class")
        key = (kind, component.name)
        if key in self.found:
            owner = self.found[key].package
            raise UserError(f"{kind} `{component.name}` is offered by {owner} and by {package}; remove or rename one")
        self.found[key] = Registered(component, package, release)

    def get(self, kind: str, name: str) -> Registered:
        """Raises KeyError with a message that names the nearest known and what failed to load."""
        if (kind, name) in self.found:
            return self.found[kind, name]
        hint = nearest(name, [known for of_kind, known in self.found if of_kind == kind])
        broken = "".join(f" Plugin {plugin} failed to load: {reason}." for plugin, reason in self.failed.items())
        raise KeyError(f"no {kind.replace('_', ' ')} named `{name}`.{hint}{broken}")

    def specify(self, kind: str, given: Any, key: str, checker: Checker) -> Spec | None:
        """A component of the experiment file, `{name: …, fields…}`, as a Spec; faults go to `checker`."""
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            return checker.fail(key, f"expected {{name: …}} naming a {kind.replace('_', ' ')}, got {show(given)}")
        try:
            component = self.get(kind, given["name"]).component
        except KeyError as missing:
            return checker.fail(f"{key}.name", missing.args[0])
        settings = {name: value for name, value in given.items() if name != "name"}
        built = checker.build(component.Config, settings, key)
        return None if built is None else Spec(component.name, built)

    def make(self, kind: str, spec: Spec, *arguments: Any) -> Any:
        return self.get(kind, spec.name).component(spec.fields, *arguments)  # type: ignore[call-arg]

    def component(self, kind: str, spec: Spec) -> Any:
        return self.get(kind, spec.name).component


def _plural(kind: str) -> str:
    return {"loss": "losses"}.get(kind, kind + "s")


@cache
def registry() -> Registry:
    """The registry with every installed plugin, loaded once. One that fails at import is remembered, not fatal."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    made = Registry(manager)
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.value.split(".")[0] != "plugins", point.name)):
        _load(made, point)
    return made


def _load(made: Registry, point: EntryPoint) -> None:
    package = point.dist.name if point.dist else "?"
    try:
        made.add_plugin(point.load(), package, point.dist.version if point.dist else "")
    except Exception as fault:  # a plugin may fail in any way; the others must still load
        made.failed[f"{package}:{point.name}"] = f"{type(fault).__name__}: {fault}"


def create(kind: str, name: str, shapes: Shapes | None = None, **settings: Any) -> Any:
    """A component by kind and name with its fields: `create("interaction", "tib", temperature=0.1)`.

    shapes: {level: LevelShape} for components that size parameters by what they read.
    Raises ConfigError for an unknown kind, name or field.
    """
    if kind not in KINDS:
        raise ConfigError(Problem(kind, f"no such kind of component.{nearest(kind, KINDS)}"))
    checker = Checker(registry().specify)
    spec = registry().specify(kind, {"name": name, **settings}, f"{kind} {name}", checker)
    if spec is None:
        raise ConfigError(checker.problems)
    takes_shapes = kind in ("feature_transform", "interaction", "reranker")
    return registry().make(kind, spec, *([shapes or {}] if takes_shapes else []))


# ------------------------------------------------------------------------------------------------ source digests


@cache
def source_digest(module: str) -> str:
    """Digest of a module's source and of the modules of its own package that it imports, itself or through others.

    So that a stored result goes stale when the code that made it changes, though the version number does not.
    """
    seen: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        origin = _origin(name)
        if name in seen or origin is None:
            continue
        seen[name] = origin.read_bytes()
        waiting += _imports(seen[name], name, is_package=origin.name == "__init__.py")
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + seen[name] + b"\0")
    return digest.hexdigest()[:16]


def _origin(module: str) -> Path | None:
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") else None


def _imports(source: bytes, module: str, is_package: bool) -> list[str]:
    top = module.split(".")[0]
    base = module.split(".") if is_package else module.split(".")[:-1]
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(base[: len(base) - node.level + 1]) if node.level else ""
            home = ".".join(part for part in (start, node.module or "") if part)
            names += [home, *(f"{home}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == top]


def main() -> None:
    """Print every component with its package, one line each, and the plugins that failed to load."""
    found = registry()
    for kind in KINDS:
        print(f"{kind}s" if kind != "loss" else "losses")
        for (of_kind, name), item in sorted(found.found.items()):
            if of_kind == kind:
                summary = (item.component.__doc__ or "").strip().split("\n")[0]
                print(f"  {name:<22} {item.package} {item.version}  {summary}")
                for setting in fields(item.component.Config):
                    print(f"      {setting.name}: {setting.metadata.get('doc', '')}")
    for plugin, reason in found.failed.items():
        print(f"failed to load: {plugin}: {reason}")


def package_version(name: str) -> str:
    """The installed version of a distribution, '' where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    # Run as a script this module has a second life under its real name; that one holds the registry.
    from core.plugins import main as listing

    listing()
