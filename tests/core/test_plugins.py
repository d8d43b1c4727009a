"""The registry, discovery, creating by name, digests of source; and each hook, by name."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core import ConfigError, Interaction, Loss, Output, UserError, create, hookimpl, hookspecs, setting
from core import plugins as plugins_module
from core.contract.components import KINDS, Dataset, Encoder, FeatureTransform, Reranker, ScoreTransform
from core.contract.fields import plural
from core.contract.settings import Checker
from core.plugins import Registry, _load, registry, source_digest

from .experiments import ToyAttention, ToyDataset, ToyEncoder, ToyLoss, ToyReranker, plugged, plugin_of

DOCS = Path(__file__).parents[2] / "docs" / "plugin_hooks.md"
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, hookspecs.PROJECT + "_spec")]


class Widen(FeatureTransform):
    """Nothing."""

    name = "toy_widen"


class Flip(ScoreTransform):
    """Nothing."""

    name = "toy_flip"


class Silent(Output):
    """Nothing."""

    name = "toy_silent"


def offering(kind: str, *classes: type) -> Any:
    """A plugin that registers classes of one kind."""
    hook = "register_losses" if kind == "loss" else f"register_{kind}s"

    def call(register):
        for cls in classes:
            register(cls)

    return plugin_of(**{hook: call})


# ------------------------------------------------------------------------------------------------ each hook


def check_registers(kind: str, cls: type) -> None:
    plugin = offering(kind, cls)
    with plugged(plugin, "toys") as found:
        held = found.get(kind, cls.name)
        assert (held.component, held.package, held.version, held.plugin) == (cls, "toys", "1.0", plugin)
    with pytest.raises(KeyError):
        registry().get(kind, cls.name)


def test_hook_register_datasets():
    check_registers("dataset", ToyDataset)


def test_hook_register_encoders():
    check_registers("encoder", ToyEncoder)


def test_hook_register_feature_transforms():
    check_registers("feature_transform", Widen)


def test_hook_register_interactions():
    check_registers("interaction", ToyAttention)


def test_hook_register_losses():
    check_registers("loss", ToyLoss)


def test_hook_register_rerankers():
    check_registers("reranker", ToyReranker)


def test_hook_register_score_transforms():
    check_registers("score_transform", Flip)


def test_hook_register_outputs():
    check_registers("output", Silent)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test_named_after_it(hook):
    assert f"test_hook_{hook}" in globals()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_under_its_signature(hook):
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"\n## `{hook}({arguments})`\n" in DOCS.read_text()


def test_the_docs_describe_no_other_hook():
    assert re.findall(r"^## `(\w+)\(", DOCS.read_text(), re.MULTILINE) == HOOKS


def test_there_is_one_hook_for_each_kind_of_component():
    assert [f"register_{plural(kind)}" for kind in KINDS] == [h for h in HOOKS if "register" in h]


# ------------------------------------------------------------------------------------------------ the registry


@pytest.fixture
def empty() -> Registry:
    """A registry without any plugin."""
    manager = plugins_module.pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return Registry(manager)


def test_built_in_components_come_through_entry_points():
    held = registry().get("interaction", "tib")
    assert held.package == "retrieval-ablations"
    assert held.component.__module__ == "plugins.interactions.tib"


def test_a_name_that_is_taken_is_refused_naming_both_owners():
    class Impostor(Interaction):
        name = "tib"

    with pytest.raises(UserError, match="interaction `tib` is offered by retrieval-ablations and by toys"):
        registry().add_plugin(offering("interaction", Impostor), "toys")
    assert registry().get("interaction", "tib").package == "retrieval-ablations"


def test_the_same_name_may_be_used_in_two_kinds(empty):
    class AsLoss(Loss):
        name = "toy_attention"

    both = plugin_of(
        register_interactions=lambda register: register(ToyAttention), register_losses=lambda register: register(AsLoss)
    )
    empty.add_plugin(both, "toys")
    assert empty.get("loss", "toy_attention").component is AsLoss


def test_a_plugin_that_is_refused_leaves_nothing_behind(empty):
    class Impostor(Interaction):
        name = "toy_attention"

    class Fresh(Interaction):
        name = "fresh"

    empty.add_plugin(offering("interaction", ToyAttention), "first")
    second = offering("interaction", Fresh, Impostor)
    with pytest.raises(UserError):
        empty.add_plugin(second, "second")
    assert list(empty.found) == [("interaction", "toy_attention")]
    assert second not in empty.manager.get_plugins()
    empty.add_plugin(offering("interaction", Fresh), "third")


def test_removing_a_plugin_keeps_the_other_plugins_of_its_package(empty):
    first, second = offering("loss", ToyLoss), offering("interaction", ToyAttention)
    empty.add_plugin(first, "toys")
    empty.add_plugin(second, "toys")
    empty.remove_plugin(first)
    assert list(empty.found) == [("interaction", "toy_attention")]


def test_a_plugin_is_registered_once(empty):
    plugin = offering("loss", ToyLoss)
    empty.add_plugin(plugin, "toys")
    with pytest.raises(UserError, match="is registered already"):
        empty.add_plugin(plugin, "toys")
    assert list(empty.found) == [("loss", "toy_loss")]
    assert plugin in empty.manager.get_plugins()


def test_adding_a_second_plugin_does_not_call_the_first_again(empty):
    calls = []
    empty.add_plugin(plugin_of(register_losses=lambda register: calls.append(1)), "first")
    empty.add_plugin(offering("loss", ToyLoss), "second")
    assert calls == [1]


def test_a_misspelt_hook_is_found_and_answered_with_the_nearest(empty):
    plugin = plugin_of(register_interaction=lambda register: None)
    with pytest.raises(
        UserError, match=r"toys: unknown hook 'register_interaction'.*Did you mean `register_interactions`"
    ):
        empty.add_plugin(plugin, "toys")
    assert not empty.manager.get_plugins()
    empty.add_plugin(offering("loss", ToyLoss), "others")


def test_a_misspelt_argument_of_a_hook_is_found(empty):
    plugin = plugin_of(register_losses=lambda registre: None)
    with pytest.raises(UserError, match="registre"):
        empty.add_plugin(plugin, "toys")
    assert not empty.manager.get_plugins()


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("interaction", None, "not a interaction class"),
        ("interaction", {}, "has no `name`"),
        ("interaction", {"name": "x", "Config": dict}, "Config is no dataclass"),
        ("loss", {"name": "x", "Config": ToyAttention.Config}, "Config does not extend LossSettings"),
        ("reranker", {"name": "x", "Config": ToyAttention.Config}, "Config does not extend RerankerSettings"),
    ],
)
def test_what_is_no_complete_component_is_refused_by_package(empty, kind, attributes, message):
    cls = ToyDataset if attributes is None else type("Given", (KINDS[kind],), attributes)
    with pytest.raises(UserError, match=rf"^toys: register_\w+ was given .*{message}"):
        empty.add_plugin(offering(kind, cls), "toys")


def test_a_config_with_a_type_that_cannot_be_read_is_refused(empty):
    @dataclass(frozen=True)
    class Odd:
        field: "NoSuchType" = None  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(UserError, match="NoSuchType"):
        empty.add_plugin(offering("interaction", type("Given", (Interaction,), {"name": "x", "Config": Odd})), "toys")


class BrokenPoint:
    """An entry point that fails as a broken package does."""

    name, value = "losses", "broken.losses"
    dist = SimpleNamespace(name="broken-package", version="0.3")

    def load(self):
        raise ImportError("no module named nowhere")


def test_a_plugin_that_fails_at_import_is_remembered_by_name_and_is_not_fatal(empty):
    _load(empty, BrokenPoint())
    assert empty.failed == {"broken-package:losses": "ImportError: no module named nowhere"}
    empty.add_plugin(offering("loss", ToyLoss), "toys")
    assert empty.get("loss", "toy_loss").component is ToyLoss
    with pytest.raises(KeyError, match="Plugin broken-package:losses failed to load: ImportError: no module named"):
        empty.get("loss", "queue_loss")


def test_a_plugin_whose_name_is_taken_is_reported_and_the_rest_loads(empty):
    empty.add_plugin(offering("loss", ToyLoss), "first")
    point = SimpleNamespace(name="x", value="x", dist=None, load=lambda: offering("loss", ToyLoss))
    _load(empty, point)
    assert "offered by first and by ?" in empty.failed["?:x"]


def test_loading_an_entry_point_registers_its_module(empty):
    _load(empty, EntryPoint("losses", "plugins.losses", hookspecs.PROJECT))
    assert ("loss", "info_nce") in empty.found


def test_an_unknown_component_is_answered_with_the_nearest_of_its_kind():
    checker = Checker(registry().specify)
    registry().specify("interaction", {"name": "tibb"}, "model.interactions.frame", checker)
    assert [(p.key, p.message) for p in checker.problems] == [
        ("model.interactions.frame.name", "no interaction named `tibb`. Did you mean `tib`?")
    ]


def test_a_spec_holds_the_name_and_the_checked_fields():
    checker = Checker(registry().specify)
    spec = registry().specify("interaction", {"name": "tib", "temperature": 1}, "x", checker)
    assert spec.name == "tib"
    assert spec.fields.temperature == 1.0
    assert spec.resolved()["level"] == "frames"


def test_a_field_of_a_component_may_be_a_component(empty):
    @dataclass(frozen=True)
    class Config:
        inner: Any = setting(None, "an interaction or null", kind="interaction")

    outer = type("Outer", (Interaction,), {"name": "outer", "Config": Config})
    empty.add_plugin(offering("interaction", outer, ToyAttention), "toys")
    checker = Checker(empty.specify)
    spec = empty.specify("interaction", {"name": "outer", "inner": {"name": "toy_attention", "width": 0}}, "m", checker)
    assert spec is None
    assert [str(problem) for problem in checker.problems] == ["m.inner.width: must be at least 1, got 0"]


# ------------------------------------------------------------------------------------------------ create


def test_create_builds_a_component_by_kind_and_name():
    assert create("interaction", "tib", {}, temperature=0.5).config.temperature == 0.5
    assert create("loss", "info_nce", of=["a", "b"]).config.of == {"a": 1.0, "b": 1.0}


def test_create_refuses_unknown_kinds_names_and_fields():
    with pytest.raises(ConfigError, match=r"no such kind of component\. Did you mean `interaction`\?"):
        create("interactions", "tib")
    with pytest.raises(ConfigError, match=r"no interaction named `tibb`. Did you mean `tib`\?"):
        create("interaction", "tibb")
    with pytest.raises(ConfigError, match=r"temperatur: unknown key. Did you mean `temperature`\?"):
        create("interaction", "tib", temperatur=1)


# ------------------------------------------------------------------------------------------------ source digests


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package toy_source: component.py uses near.py (which uses far.py) and a function of its folder `inside`."""
    root = tmp_path / "toy_source"
    (root / "inside").mkdir(parents=True)
    files = {
        "__init__.py": "from . import component, other",
        "component.py": "import json\nfrom core import Interaction\nfrom .near import help\nfrom . import aside\n"
        "def late():\n    from toy_source.inside.deep import thing",
        "near.py": "import toy_source.far\ndef help(): ...",
        "far.py": "",
        "aside.py": "",
        "other.py": "",
        "inside/__init__.py": "",
        "inside/deep.py": "thing = 1",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    source_digest.cache_clear()
    yield root
    source_digest.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "toy_source"]:
        del sys.modules[name]


def digests_after(path: Path) -> tuple[str, str]:
    """The digest of the component before and after a file changes by a comment."""
    before = source_digest("toy_source.component")
    path.write_text(path.read_text() + "\n# changed")
    source_digest.cache_clear()
    return before, source_digest("toy_source.component")


@pytest.mark.parametrize("name", ["component.py", "near.py", "far.py", "aside.py", "inside/deep.py"])
def test_the_digest_changes_with_the_module_and_with_what_it_imports(package, name):
    before, after = digests_after(package / name)
    assert before != after


@pytest.mark.parametrize("name", ["other.py", "__init__.py", "inside/__init__.py"])
def test_the_digest_does_not_change_with_what_it_does_not_import(package, name):
    before, after = digests_after(package / name)
    assert before == after


def test_the_digest_does_not_change_where_nothing_does(package):
    before = source_digest("toy_source.component")
    source_digest.cache_clear()
    assert source_digest("toy_source.component") == before


def test_the_digest_follows_imports_into_packages_that_offer_plugins(package, monkeypatch):
    (package / "component.py").write_text("from plugins.interactions.tib import TextGatedBlock")
    source_digest.cache_clear()
    before = source_digest("toy_source.component")
    real = plugins_module._origin
    copy = package / "tib_copy.py"
    copy.write_text("changed = True")
    monkeypatch.setattr(
        plugins_module, "_origin", lambda name: copy if name == "plugins.interactions.tib" else real(name)
    )
    source_digest.cache_clear()
    assert source_digest("toy_source.component") != before


def test_taking_a_digest_imports_nothing(package):
    (package / "__init__.py").write_text("")
    (package / "component.py").write_text(
        "import mlflow.pyfunc\nfrom transformers.models import clip\nfrom . import near"
    )
    code = (
        "import sys, core.plugins as p; p.source_digest('toy_source.component'); print('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(package.parent)},
    )
    assert done.stdout.strip() == "False"


def test_the_digest_of_a_module_that_is_not_there_is_that_of_nothing():
    assert source_digest("no_such_module") == source_digest("no_such_module_either")


# ------------------------------------------------------------------------------------------------ the listing


def test_python_m_core_plugins_lists_components_a_line_each_and_what_failed(capsys, monkeypatch):
    monkeypatch.setitem(registry().failed, "broken-package:losses", "ImportError: no")
    monkeypatch.delenv("COLUMNS", raising=False)
    with plugged(offering("loss", ToyLoss), "toys"):
        assert plugins_module.main([]) == 0
        count = len(registry().found)
    listed = capsys.readouterr().out.split("\n")
    headings = [line for line in listed if line and not line.startswith((" ", "failed", "All"))]
    assert headings == [plural(kind).replace("_", " ") for kind in KINDS]
    assert any(re.match(r"  tib +cos\(t.*`gate`\.$", line) for line in listed)
    assert any(re.match(r"  toy_loss +.* \(toys 1\.0\)$", line) for line in listed)
    assert len([line for line in listed if line.startswith("  ")]) == count
    assert "failed to load: broken-package:losses: ImportError: no" in listed


def test_show_of_a_name_that_nobody_has_names_the_nearest(capsys):
    assert plugins_module.main(["show", "tibb"]) == 1
    assert capsys.readouterr().err == "error: there is no component named `tibb`. Did you mean `tib`?\n"


def test_the_listing_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "core.plugins"], capture_output=True, text=True, check=True)
    assert "  info_nce " in done.stdout
    assert "failed to load" not in done.stdout
    assert not done.stderr


def test_hookimpl_is_all_that_a_plugin_imports_besides_its_base_class():
    class Plugin:
        @staticmethod
        @hookimpl
        def register_encoders(register):
            register(ToyEncoder)

    with plugged(Plugin) as found:
        assert issubclass(found.get("encoder", "toy_encoder").component, Encoder)


def test_kinds_are_named_after_their_base_classes():
    assert {KINDS["dataset"], KINDS["encoder"], KINDS["reranker"]} == {Dataset, Encoder, Reranker}
