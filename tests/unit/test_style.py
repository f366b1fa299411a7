"""The house's style, checked: lint, types, sizes, docstrings, and that the files speak of the product alone."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testbed.places import home

FOLDERS = ("testbed", "roles", "analysis", "tests", "benchmarks", "topologies", "experiments", "docs")
PRODUCT = ("testbed", "roles", "analysis", "benchmarks")
TYPES = home() / ".mypy_cache"
if not os.access(TYPES, os.W_OK):  # mypy breaks over a folder that belongs to another user
    TYPES = Path(os.devnull)
MOST_LINES, MOST_OF_A_FUNCTION = 300, 60
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((home() / folder).rglob("*.py"))]


def definitions(path: Path) -> Iterator[Definition]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Definition):
            yield node


def said(path: Path, node: ast.stmt, what: str) -> str:
    return f"{path.relative_to(home())}:{node.lineno} {what}"


@pytest.mark.parametrize("command", [
    ("ruff", "check", "--quiet", "--no-cache", "."),
    ("mypy", "--no-error-summary", f"--cache-dir={TYPES}"),  # of what pyproject.toml names: testbed, roles, analysis
])  # fmt: skip
def test_finds_nothing(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=home(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_longer_than_a_reader_s_patience() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*FOLDERS)}
    assert [f"{path}: {size} lines" for path, size in sizes.items() if size > MOST_LINES] == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [said(path, node, f"{node.name}: {node.end_lineno - node.lineno + 1} lines")
            for path in sources(*FOLDERS) for node in definitions(path)
            if not isinstance(node, ast.ClassDef) and node.end_lineno
            and node.end_lineno - node.lineno >= MOST_OF_A_FUNCTION]  # fmt: skip
    assert long == []


def test_every_public_name_of_a_module_says_what_it_is() -> None:
    silent = [said(path, node, node.name)
              for path in sources(*PRODUCT) for node in ast.parse(path.read_text(encoding="utf-8")).body
              if isinstance(node, Definition) and not node.name.startswith("_") and node.name != "main"
              and not ast.get_docstring(node)]  # fmt: skip
    assert silent == []


def strangers() -> set[str]:
    """What the place where the tests run is called: its folder, and the hosts that packages come from here."""
    configured = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    settings = [line.partition("=")[::2] for line in configured.splitlines()] + list(os.environ.items())
    hosts = {urlsplit(value.strip("'\"")).hostname for name, value in settings
             if name.lower().replace("_", "-").endswith("index-url")}  # fmt: skip
    folder = {str(home())} if len(home().parts) > 2 else set()
    return folder | {each for each in hosts if each and each != "pypi.org"}


def test_no_file_speaks_of_the_place_where_it_was_written() -> None:
    names = strangers()
    files = [path for folder in FOLDERS for path in (home() / folder).rglob("*") if path.is_file()]
    files += [path for path in home().iterdir() if path.is_file()]
    texts = {path: path.read_bytes().decode(errors="replace") for path in files if "__pycache__" not in path.parts}
    assert [f"{path}: {name}" for path, text in texts.items() for name in names if name in text] == []


def test_the_lock_file_names_versions_and_no_place_to_get_them() -> None:
    lines = (home() / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(("-i", "--")) or "://" in line] == []
