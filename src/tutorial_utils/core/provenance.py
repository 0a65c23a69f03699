"""What a result depends on: the code that makes it, and the libraries that this code imports.

A result on disk is used again as long as its provenance is unchanged. The provenance is computed
from the source, with the graph of imports by ``grimp``. Only ``NEUTRAL`` is kept by hand.
"""

import ast
import functools
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp

from tutorial_utils.core.errors import InvalidArgument

# Modules that find, store and describe files, and do not affect what is computed. Forgetting
# one here costs a needless rebuild, never a stale result.
_CORE = ("errors", "hashing", "machine", "paths", "provenance", "quiet", "records", "tables")
NEUTRAL = {"tutorial_utils.data.assets", *(f"tutorial_utils.core.{name}" for name in _CORE)}


@dataclass(frozen=True)
class Provenance:
    """code: a digest of the source. libraries: installed distribution → its version."""

    code: str
    libraries: dict[str, str]


@functools.cache  # the code of a process stays as it was loaded
def of(*functions: Callable) -> Provenance:
    """The provenance of what ``functions``, defined at the top level of modules, compute.

    Of their own modules, only the definitions count that they use, directly or through others.
    Modules that these import, anywhere in the code, count as a whole, and so on. Comments and
    docstrings do not count.

    Raises:
        InvalidArgument: a function is not defined at the top level of its module.
    """
    used = {f: list(_used(_parsed(f.__module__), f.__name__)) for f in functions}
    for function, statements in used.items():
        if not statements:
            raise InvalidArgument(f"{function.__qualname__} is not at the top level of a module.")
    packages = {name.split(".")[0] for name in (__name__, *(f.__module__ for f in functions))}
    graph = _imports(packages)
    reached: set[str] = set()
    for function, statements in used.items():
        module = function.__module__
        for imported in graph.find_modules_directly_imported_by(module):
            found = graph.get_import_details(importer=module, imported=imported)
            lines = [place["line_number"] for place in found]
            if any(s.lineno <= n <= (s.end_lineno or n) for s in statements for n in lines):
                reached |= {imported, *graph.find_upstream_modules(imported)}
    libraries = {module for module in reached if graph.is_module_squashed(module)}
    trees = [_parsed(module) for module in reached - libraries]
    trees += [ast.Module(statements, []) for statements in used.values()]
    code = sorted(ast.dump(_without_docstrings(tree)) for tree in trees)
    digest = hashlib.sha256("\n".join(code).encode()).hexdigest()
    return Provenance(digest, _versions(libraries))


def _imports(packages: set[str]) -> grimp.ImportGraph:
    """Which module imports which, without the neutral ones."""
    graph = grimp.build_graph(*packages, include_external_packages=True, cache_dir=None)
    for module in graph.modules:
        if module in NEUTRAL:
            graph.remove_module(module)
    return graph


def _parsed(module: str) -> ast.Module:
    top, *parts = module.split(".")
    place = Path(str(sys.modules[top].__file__))
    if parts:
        place = place.parent.joinpath(*parts)
        place = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(place.read_text(encoding="utf-8"))


def _used(tree: ast.Module, name: str) -> Iterator[ast.stmt]:
    """The top-level statements that define ``name`` and all that its definition mentions."""
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for bound in _bound(statement):
            defined.setdefault(bound, []).append(statement)
    waiting, seen = [name], set()
    while waiting:
        for statement in defined.get(waiting.pop(), ()):
            if statement not in seen:
                seen.add(statement)
                waiting += [n.id for n in ast.walk(statement) if isinstance(n, ast.Name)]
                yield statement


def _bound(statement: ast.stmt) -> list[str]:
    """Names that a statement at the top level of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [statement for statement in body if not _is_text(statement)]
    return tree


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


_distributions = functools.cache(importlib.metadata.packages_distributions)


def _versions(libraries: set[str]) -> dict[str, str]:
    names = {name for library in libraries for name in _distributions().get(library, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}
