"""Discovery of plugins through entry points, and the registry of components by kind and name.

`python -m core.plugins` lists what there is; `contract.catalogue` says in which words.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import hashlib
import importlib.util
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import pluggy

from . import hookspecs
from .contract.command import command
from .contract.components import KINDS, Component, Shapes
from .contract.fields import plural
from .contract.keys import join
from .contract.settings import Checker, Spec
from .errors import ConfigError, Problem, UserError, nearest

GROUP = hookspecs.PROJECT
DISTRIBUTION = "retrieval-ablations"


@dataclass(frozen=True)
class Registered:
    """A component with the distribution that offers it and the plugin that registered it."""

    component: type[Component]
    package: str
    version: str
    plugin: object = None


@dataclass
class Registry:
    """Components by (kind, name), the plugin manager they came through, and the plugins that failed to load."""

    manager: pluggy.PluginManager
    found: dict[tuple[str, str], Registered] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add_plugin(self, plugin: object, package: str, release: str = "") -> None:
        """Register a module or object that implements hooks, whole or not at all.

        Raises UserError for a hook that does not exist, a name that is taken, a class that is no component.
        """
        if self.manager.is_registered(plugin):
            raise UserError(f"{package}: {plugin!r} is registered already")
        others = self.manager.get_plugins()
        backup = dict(self.found)
        try:
            self.manager.register(plugin)
            self._refuse_unknown_hooks(plugin)
            for kind in KINDS:
                caller = self.manager.subset_hook_caller(f"register_{plural(kind)}", others)
                caller(register=lambda component, kind=kind: self._add(kind, component, package, release, plugin))
        except BaseException as fault:
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            self.found = backup
            if isinstance(fault, pluggy.PluginValidationError):
                raise UserError(f"{package}: {' '.join(str(fault).split())}") from None
            raise

    def remove_plugin(self, plugin: object, package: str = "") -> None:
        """Forget a plugin and the components that it registered."""
        self.manager.unregister(plugin)
        self.found = {key: value for key, value in self.found.items() if value.plugin is not plugin}

    def _refuse_unknown_hooks(self, plugin: object) -> None:
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as fault:
            hooks = [name for name in vars(hookspecs) if hasattr(self.manager.hook, name)]
            misspelt = re.search(r"unknown hook '(\w+)'", str(fault))
            hint = nearest(misspelt[1], hooks) if misspelt else ""
            raise pluggy.PluginValidationError(plugin, f"{fault}.{hint}") from None

    def _add(self, kind: str, component: type[Component], package: str, release: str, plugin: object) -> None:
        by = f"{package}: register_{plural(kind)} was given {component!r}"
        if not (isinstance(component, type) and issubclass(component, KINDS[kind])):
            raise UserError(f"{by}, not a {kind} class")
        if not isinstance(getattr(component, "name", None), str) or not component.name:
            raise UserError(f"{by}, which has no `name`")
        needed = KINDS[kind].Config
        if not dataclasses.is_dataclass(component.Config):
            raise UserError(f"{by}, whose Config is no dataclass")
        if dataclasses.fields(needed) and not issubclass(component.Config, needed):
            raise UserError(f"{by}, whose Config does not extend {needed.__name__}")
        try:
            typing.get_type_hints(component.Config)
        except NameError as fault:
            raise UserError(f"{by}, whose Config has a type that cannot be read: {fault}") from None
        key = (kind, component.name)
        if key in self.found:
            owner = self.found[key].package
            raise UserError(f"{kind} `{component.name}` is offered by {owner} and by {package}; remove or rename one")
        self.found[key] = Registered(component, package, release, plugin)

    def get(self, kind: str, name: str) -> Registered:
        """Raises KeyError with a message that names the nearest known and what failed to load."""
        if (kind, name) in self.found:
            return self.found[kind, name]
        hint = nearest(name, [other for of_kind, other in self.found if of_kind == kind])
        broken = "".join(f" Plugin {plugin} failed to load: {reason}." for plugin, reason in self.failed.items())
        raise KeyError(f"no {kind.replace('_', ' ')} named `{name}`.{hint}{broken}")

    def specify(self, kind: str, mapping: Mapping[str, Any], key: str, checker: Checker) -> Spec | None:
        """A component of the experiment file, `{name: …, fields…}`, as a Spec; faults go to `checker`."""
        try:
            component = self.get(kind, mapping["name"]).component
        except KeyError as missing:
            return checker.fail(join(key, "name"), missing.args[0])
        settings = {name: value for name, value in mapping.items() if name != "name"}
        built = checker.build(component.Config, settings, key)
        return None if built is None else Spec(component.name, built)

    def make(self, kind: str, spec: Spec, *arguments: Any) -> Any:
        """The component that a spec describes, built."""
        return self.get(kind, spec.name).component(spec.fields, *arguments)  # type: ignore[call-arg]

    def component(self, kind: str, spec: Spec) -> Any:
        """The class that a spec names."""
        return self.get(kind, spec.name).component


@cache
def registry() -> Registry:
    """The registry with every installed plugin, loaded once. One that fails at import is remembered, not fatal."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    components = Registry(manager)
    for point in sorted(entry_points(group=GROUP), key=lambda point: (not _is_built_in(point), point.name)):
        _load(components, point)
    return components


def _is_built_in(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == DISTRIBUTION


def _load(components: Registry, point: EntryPoint) -> None:
    package = point.dist.name if point.dist else "?"
    try:
        components.add_plugin(point.load(), package, point.dist.version if point.dist else "")
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # a plugin may fail in any way, sys.exit among them; the others must still load
        reason = f"sys.exit({fault.code!r}) was called" if isinstance(fault, SystemExit) else str(fault)
        components.failed[f"{package}:{point.name}"] = f"{type(fault).__name__}: {reason}"


def create(kind: str, name: str, shapes: Shapes | None = None, **settings: Any) -> Any:
    """A component by kind and name with its fields: `create("interaction", "tib", temperature=0.1)`.

    shapes: {level: LevelShape} for components that size parameters by what they read.
    Raises ConfigError for an unknown kind, name or field.

    >>> import core
    >>> core.create("interaction", "tib", temperature=0.1).config.temperature
    0.1
    >>> core.create("interaction", "tib", temperature=-1)
    Traceback (most recent call last):
    core.errors.ConfigError: interaction tib.temperature: must be more than 0, got -1.0
    """
    if kind not in KINDS:
        raise ConfigError(Problem(kind, f"no such kind of component.{nearest(kind, KINDS)}"))
    checker = Checker(registry().specify)
    spec = registry().specify(kind, {"name": name, **settings}, f"{kind} {name}", checker)
    if spec is None:
        raise ConfigError(checker.problems)
    return make(kind, spec, shapes)


def make(kind: str, spec: Spec, shapes: Shapes | None = None) -> Any:
    """The component that a Config field names, built: for components that have others inside.

    >>> import core
    >>> spec = core.Spec("info_nce", core.create("loss", "info_nce", of="video").config)
    >>> core.make("loss", spec).config.of
    {'video': 1.0}
    """
    if kind in ("feature_transform", "interaction", "reranker"):
        return registry().make(kind, spec, shapes or {})
    return registry().make(kind, spec)


# ------------------------------------------------------------------------------------------------ source digests

VERSIONED = {"core", "torch", "transformers", *sys.stdlib_module_names}
"""Packages whose code is known by a number: that of a step, of Python, of a release."""


def defining_modules(component: type[Component]) -> tuple[str, ...]:
    """The module of a component, and those of its bases and its Config's, without the packages of VERSIONED."""
    classes = (*component.__mro__, *component.Config.__mro__)
    bases = {cls.__module__ for cls in classes if cls.__module__.split(".")[0] not in VERSIONED}
    return (component.__module__, *sorted(bases - {component.__module__}))


@cache
def source_digest(*modules: str) -> str:
    """Digest of modules' source and of the plugin modules that they import, themselves or through others: those of
    their own packages and of packages that offer plugins, not those of core.

    So that a stored result goes stale when the code that made it changes, though the version number does not.
    """
    offering = (point.value for point in entry_points(group=GROUP))
    followed = {name.split(".")[0] for name in (*modules, *offering)}
    seen: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        origin = None if name in seen else _origin(name)
        if origin is not None:
            seen[name] = origin.read_bytes()
            waiting += _imports(seen[name], name, origin.name == "__init__.py", followed)
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + seen[name] + b"\0")
    return digest.hexdigest()[:16]


def _origin(module: str) -> Path | None:
    """The file of a module's source, where it has one. Nothing is imported to find it."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        spec = _spec(module)
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") else None


def _spec(module: str) -> ModuleSpec | None:
    """What `importlib.util.find_spec` finds, which imports the packages around a module to find it."""
    package, _, _ = module.rpartition(".")
    if not package:
        return importlib.util.find_spec(module)
    around = sys.modules.get(package) or _spec(package)
    places = getattr(around, "__path__", None) or getattr(around, "submodule_search_locations", None)
    return PathFinder.find_spec(module, places) if places else None


def _imports(source: bytes, module: str, is_package: bool, followed: set[str]) -> list[str]:
    """Full names of the modules of the followed packages that a source imports, by a statement or by
    `import_module("a.name")`. `from package import name` means the module of that name where there is one, else the
    package itself."""
    base = module.split(".") if is_package else module.split(".")[:-1]
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = _absolute("." * node.level + (node.module or ""), base)
            if home.split(".")[0] in followed:
                inner = [f"{home}.{alias.name}" for alias in node.names]
                names += [name if _origin(name) else home for name in inner]
        elif isinstance(node, ast.Call):
            names += [_absolute(name, base) for name in _called(node)]
    return [name for name in names if name.split(".")[0] in followed]


def _called(call: ast.Call) -> list[str]:
    """The name that a call of `import_module` or `__import__` gives as a constant."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    arguments = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "name")]
    if function not in ("import_module", "__import__"):
        return []
    return [word.value for word in arguments if isinstance(word, ast.Constant) and isinstance(word.value, str)]


def _absolute(name: str, base: list[str]) -> str:
    """A module's full name, of one that may start with dots inside the package `base`."""
    inner = name.lstrip(".")
    level = len(name) - len(inner)
    if not level:
        return inner
    outer = base[: len(base) - level + 1]  # one dot: the package itself; each further one: the package around it
    return ".".join([*outer, inner] if inner else outer)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 1 for a name that no component has."""
    chosen = _parser().parse_args(arguments)
    if chosen.task == "show":
        from .contract.catalogue import description

        print("\n\n".join(description(registry(), chosen.name)))
    else:
        from .contract.catalogue import listing

        print("\n".join(listing(registry(), DISTRIBUTION)))
    return 0


def _parser() -> argparse.ArgumentParser:
    program = "python -m core.plugins"
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} [-h] [show NAME]",
        description="List every component by kind, each with its name and what it is; or show all of one.",
    )
    tasks = parser.add_subparsers(dest="task", prog=program, title="all of one component", metavar="show NAME")
    parts = "its fields, its levels, where it comes from, and how a file names it"
    show = tasks.add_parser("show", help=parts, description=f"Show all that there is to know of a component: {parts}.")
    show.add_argument("name", metavar="NAME", help="name of the component, as a file has it: tib")
    return parser


def package_version(name: str) -> str:
    """The installed version of a distribution, '' where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    # Run as a script this module has a second life under its real name; that one holds the registry.
    from core.plugins import main as listing

    sys.exit(listing())
