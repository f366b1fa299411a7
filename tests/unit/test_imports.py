"""Imports go one way, down the list; any other arrow fails here."""

from __future__ import annotations

import ast
from pathlib import Path

from testbed.places import home

# From the top to the bottom: a module may import modules of its own level and of lower ones.
LEVELS = [
    ["testbed.__main__"],
    ["testbed.cli", "testbed.doctor", "testbed.reference"],
    ["testbed.validate"],
    ["testbed.sweep", "testbed.calibrate", "testbed.explore", "testbed.recover"],
    ["testbed.run"],
    ["testbed.twin.story"],
    ["testbed.conclude", "testbed.plan"],
    ["testbed.conduct", "testbed.published", "testbed.agreement", "testbed.compared"],
    ["testbed.experiment"],
    ["testbed.fidelity"],
    ["testbed.collect"],
    ["testbed.deploy"],
    ["testbed.twin"],
    ["testbed.workload", "testbed.background"],
    ["testbed.store", "testbed.collect.schema"],
    ["testbed.roles"],
    ["testbed.substrate"],
    ["testbed.shaping"],
    ["testbed.timeline"],
    ["testbed.topology"],
    ["testbed.document", "testbed.units", "testbed.seeds", "testbed.errors", "testbed.tables", "testbed.places",
     "testbed.linux", "testbed.parallel", "testbed.kernel", "testbed.netlink"],
    ["testbed"],
]


def level(module: str) -> int:
    fitting = [(len(prefix), number) for number, row in enumerate(LEVELS) for prefix in row
               if module == prefix or module.startswith(prefix + ".")]
    assert fitting, f"{module} has no level: add it to LEVELS"
    return max(fitting)[1]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "testbed":
            found.update(f"testbed.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] in ("testbed", "roles", "analysis")}


def sources(folder: str) -> list[tuple[str, Path]]:
    root = home()
    return [(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"), path)
            for path in sorted((root / folder).rglob("*.py"))]


def test_imports_go_down_the_list_only() -> None:
    wrong = [f"{module} imports {name}" for module, path in sources("testbed") for name in imports(path)
             if name.startswith("testbed") and level(name) < level(module)]
    assert wrong == []


def test_the_framework_names_no_system_under_test() -> None:
    wrong = [f"{module} imports {name}" for module, path in sources("testbed") for name in imports(path)
             if name.startswith("roles.")]
    assert wrong == []


def test_systems_under_test_import_only_the_roles_api_and_the_base_level() -> None:
    allowed = ("testbed.roles", "testbed.units", "testbed.errors", "testbed.seeds", "testbed.tables", "roles")
    wrong = [f"{module} imports {name}" for module, path in sources("roles") for name in imports(path)
             if not name.startswith(allowed)]
    assert wrong == []


def test_the_analysis_reads_run_folders_only() -> None:
    allowed = ("testbed.store", "testbed.collect.schema", "testbed.tables", "testbed.errors", "analysis")
    wrong = [f"{module} imports {name}" for module, path in sources("analysis") for name in imports(path)
             if not name.startswith(allowed)]
    assert wrong == []
