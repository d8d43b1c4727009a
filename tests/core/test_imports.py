"""Who may import whom, and how long it takes until something can be said."""

from __future__ import annotations

import ast
import importlib
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import core

from .experiments import edited, write

ROOT = Path(__file__).parents[2]

LAYERS = [
    {"run"},
    {"outputs"},
    {"evidence"},
    {"engine"},
    {"experiment"},
    {"plugins"},
    {"hookspecs"},
    {"contract", "measure"},
    {"errors"},
]
"""Parts of core from the top down: each imports only from layers below its own."""

LEAVES = {"compare", "reference", "search", "store", "testing"}
"""Parts that import what they like, and that nothing imports."""

ONLY_IN = {
    "matplotlib": {"plugins.outputs.figures"},
    "mlflow": {"plugins.outputs.mlflow"},
    "sqlalchemy": {"plugins.outputs.mlflow"},
    "decord": {"core.engine.video"},
    "omegaconf": {"core.experiment.config"},
    "pluggy": {"core.hookspecs", "core.plugins"},
    "jinja2": {"plugins.outputs.pages"},
    "markupsafe": {"plugins.outputs.pages"},
    "faiss": {"core.engine.index"},
    "ray": set(),
}


def modules(folder: str) -> dict[str, Path]:
    """{full name: file} of every module under core/ or plugins/."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


CORE, PLUGINS = modules("core"), modules("plugins")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    """Statements that run: not those for type checkers only, and functions only where asked for."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        if not inside_functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from statements(child, inside_functions)


@cache
def imports(name: str, inside_functions: bool = True) -> frozenset[str]:
    """Full names of what a module imports; of ours, the modules that the imported names stand for."""
    known = CORE | PLUGINS
    path = known[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in statements(ast.parse(path.read_text()), inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*start, *([node.module] if node.module else [])])
            found |= {f"{home}.{a.name}" if f"{home}.{a.name}" in known else home for a in node.names}
    return frozenset(found)


def part(module: str) -> str:
    """`core.engine.steps.step` -> `engine`; "" for core itself."""
    return (*module.split("."), "")[1]


def offenders(names: dict[str, Path], wrong: Callable[[str, str], bool]) -> list[str]:
    return [f"{name} imports {found}" for name in names for found in sorted(imports(name)) if wrong(name, found)]


# ------------------------------------------------------------------------------------------------ import rules


def test_core_never_imports_plugins():
    assert not offenders(CORE, lambda _, found: found.split(".")[0] == "plugins")


def test_core_names_no_plugin_module_in_its_source():
    assert not [name for name, path in CORE.items() if '"plugins.' in path.read_text()]


def test_plugins_import_the_public_api_only_and_outputs_their_door():
    def wrong(name: str, found: str) -> bool:
        doors = {"core", "core.outputs"} if part(name) == "outputs" else {"core"}
        return found.split(".")[0] == "core" and found not in doors

    assert not offenders(PLUGINS, wrong)


def test_plugins_import_neither_across_kinds_nor_past_layers():
    def wrong(name: str, found: str) -> bool:
        return found.split(".")[0] == "plugins" and part(found) not in (part(name), "layers")

    assert not offenders(PLUGINS, wrong)


@pytest.mark.parametrize("door", ["core", "core.outputs"])
def test_plugins_take_from_core_what_is_public(door):
    taken = set()
    for path in PLUGINS.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == door:
                taken |= {alias.name for alias in node.names}
    assert taken <= set(importlib.import_module(door).__all__)


@pytest.mark.parametrize(("package", "homes"), ONLY_IN.items())
def test_one_place_alone_imports_each_outside_world(package, homes):
    def wrong(name: str, found: str) -> bool:
        return found.split(".")[0] == package and ".".join(name.split(".")[:3]) not in homes

    assert not offenders(CORE | PLUGINS, wrong)


@pytest.mark.parametrize("name", [name for name in CORE if part(name) == "measure"])
def test_statistics_know_neither_torch_nor_mlflow_nor_what_needs_them(name):
    seen, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module in CORE and module not in seen:
            seen.add(module)
            waiting += imports(module)
        assert module.split(".")[0] not in ("torch", "mlflow"), f"by way of {sorted(seen)}"


def test_every_part_of_core_has_a_layer():
    assert {part(name) for name in CORE} - {""} == set().union(*LAYERS, LEAVES)


def test_core_imports_downwards_only():
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}

    def wrong(name: str, found: str) -> bool:
        own, other = part(name), part(found)
        if found not in CORE or other in ("", own) or own in LEAVES | {""}:
            return False
        return other in LEAVES or depth[other] <= depth[own]

    assert not offenders(CORE, wrong)


def test_nothing_imports_a_leaf():
    assert not offenders(CORE, lambda name, found: found in CORE and part(found) in LEAVES - {part(name)})


def test_the_top_of_core_is_read_in_a_breath():
    names = {path.name.removesuffix(".py") for path in (ROOT / "core").iterdir() if path.name != "__pycache__"}
    assert names == {"__init__", *set().union(*LAYERS, LEAVES)}


def test_no_module_has_more_than_400_lines():
    assert not [name for name, path in (CORE | PLUGINS).items() if len(path.read_text().splitlines()) > 400]


def by_part() -> dict[str, set[str]]:
    """What each part of core imports of the others, anywhere in its modules."""
    graph: dict[str, set[str]] = {}
    for name in CORE:
        graph.setdefault(part(name), set()).update(part(found) for found in imports(name) if found in CORE)
    return {name: found - {name, ""} for name, found in graph.items()}


def by_module() -> dict[str, set[str]]:
    """What each module of core imports of the others when it is imported; a package may import what it holds."""
    graph = {name: {found for found in imports(name, False) if found in CORE} - {name, "core"} for name in CORE}
    return {name: {found for found in graph[name] if not name.startswith(f"{found}.")} for name in graph}


@pytest.mark.parametrize("graph", [by_part(), by_module()], ids=["between parts", "at module level"])
def test_imports_within_core_form_no_circle(graph):
    while graph:
        leaves = [name for name, needed in graph.items() if not needed & graph.keys()]
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {name: needed for name, needed in graph.items() if name not in leaves}


def test_nothing_is_called_utils():
    words = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [name for name in CORE | PLUGINS if words & set(name.split("."))]


def test_transformers_is_imported_inside_functions():
    assert not [n for n in CORE | PLUGINS if any(f.split(".")[0] == "transformers" for f in imports(n, False))]


# ------------------------------------------------------------------------------------------------ the public API


@pytest.mark.parametrize("name", core.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(core, name) is not None


def test_no_public_name_is_that_of_a_module():
    names = {name.split(".")[-1] for name in CORE if name.count(".") == 1}
    assert not set(core.__all__) & names


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'core' has no attribute 'nothing'"):
        core.nothing  # noqa: B018


def test_core_imports_without_plugins(tmp_path):
    (tmp_path / "core").symlink_to(ROOT / "core")
    code = "import importlib, sys; [importlib.import_module(n) for n in sys.argv[1:]]; print('plugins' in sys.modules)"
    names = [name for name in CORE if name != "core.run"]
    done = run("-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); " + code, *names)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


# ------------------------------------------------------------------------------------------------ start-up


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


def seconds(*arguments: str) -> float:
    """Median processor time of a Python command: what it takes, whatever else the machine does."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
    return statistics.median(taken)


def heavy(stderr: str) -> set[str]:
    """Those packages among the ones that take long, or that plugins bring, which a run with -X importtime imported."""
    loaded = {line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")}
    assert loaded
    return loaded & {"torch", "mlflow", "decord", "transformers", "matplotlib", "scipy", "plugins", "numpy", "jinja2"}


@pytest.mark.parametrize("command", [("-c", "import core"), ("-m", "core.run", "--help")], ids=" ".join)
def test_the_start_takes_well_under_half_a_second(command):
    bare = seconds("-c", "pass")
    assert seconds(*command) - bare < 0.3


@pytest.mark.parametrize("command", [("-c", "import core"), ("-m", "core.run", "--help")], ids=" ".join)
def test_nothing_heavy_is_imported_at_the_start(command):
    assert not heavy(run("-X", "importtime", *command).stderr)


@pytest.mark.parametrize(
    ("changes", "overrides", "key"),
    [
        ({"train.epoch": 3}, (), "train.epoch"),
        ({"evalute": {}}, (), "evalute"),
        ({}, ("train.epochs=x",), "train.epochs"),
        ({"ablate": {"train.epoch": [1, 2]}}, (), "ablate[train.epoch]"),
    ],
)
def test_faults_of_the_core_schema_end_the_command_before_anything_heavy_is_imported(tmp_path, changes, overrides, key):
    path = write(tmp_path, edited(changes))
    done = run("-X", "importtime", "-m", "core.run", str(path), *overrides)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2, done.stderr
    assert len(errors) == 1, errors
    assert f": {key}: " in errors[0]
    assert not heavy(done.stderr)


def test_a_missing_file_ends_the_command_within_a_second_of_work_over_a_bare_interpreter(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("-m", "core.run", str(tmp_path / "nowhere.yaml"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere.yaml: no such file" in done.stderr
    assert taken - seconds("-c", "pass") < 1


def test_modules_that_check_the_file_need_no_torch():
    names = [
        "core.errors",
        "core.contract.keys",
        "core.contract.settings",
        "core.experiment.config",
        "core.experiment.selection",
        "core.experiment.variants",
    ]
    done = run("-c", f"import sys; [__import__(n) for n in {names}]; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False"
    assert all(importlib.import_module(name) for name in names)
