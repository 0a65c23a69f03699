"""What a result depends on: the code that makes it, and the libraries that this code imports.

A result on disk is used again as long as its provenance is unchanged. It is found from the source:
no list of modules is kept by hand, so none can be forgotten.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tutorial_utils.core.errors import InvalidArgument

# Modules that find, store and describe files, and change nothing in what is computed. Forgetting
# one here costs a needless rebuild, never a stale result.
NEUTRAL = frozenset(
    {"assets", "errors", "hashing", "machine", "paths", "provenance", "quiet", "records", "tables"}
)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Provenance:
    """code: a digest of the source. libraries: installed distribution → its version."""

    code: str
    libraries: dict[str, str]


@functools.cache  # the code of a process stays as it was loaded
def of(*functions: Callable) -> Provenance:
    """The provenance of what ``functions``, defined at the top level of modules, compute.

    Their own modules count by the definitions that they use, directly or through others; modules
    that these import, wherever in the code, count as a whole, and so on. Comments, docstrings,
    annotations of functions, and the names and places of our modules do not count.

    Raises:
        InvalidArgument: a function is not defined at the top level of its module.
    """
    names = (__name__, *(function.__module__ for function in functions))
    tops = {name.split(".")[0] for name in names}
    roots = {top: folder for top in tops if (folder := _folder(top))}
    code: list[str] = []
    imports: list[ast.Import | ast.ImportFrom] = []
    for function in functions:
        module = sys.modules[function.__module__]
        used = list(_used(_parsed(Path(str(module.__file__))), function.__name__))
        if not used:
            raise InvalidArgument(f"{function.__qualname__} is not at the top level of a module.")
        code += [ast.dump(node) for node in used if not isinstance(node, _IMPORTS)]
        imports += _imports(*used)
    libraries: set[str] = set()
    seen: set[Path] = set()
    waiting = list(imports)
    while waiting:
        for name in _names(waiting.pop()):
            if name.split(".")[0] not in roots:
                libraries.add(name.split(".")[0])
                continue
            path = _path(name, roots)
            if path in seen or path is None or path.stem in NEUTRAL:
                continue
            seen.add(path)
            tree = _parsed(path)
            waiting += _imports(tree)
            code.append(ast.dump(_without_imports_of(tree, roots)))
    digest = hashlib.sha256("\n".join(sorted(set(code))).encode()).hexdigest()
    return Provenance(digest, _versions(libraries))


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package) if package != "__main__" else None
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _path(name: str, roots: dict[str, Path]) -> Path | None:
    """The file that ``name`` is defined in: a module, or a name that a module defines."""
    top, *parts = name.split(".")
    for end in (parts, parts[:-1]):
        place = roots[top].joinpath(*end)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if end and file.is_file():
                return file
    return None


def _parsed(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, *_DEFINITIONS)) and ast.get_docstring(node) is not None:
            del node.body[0]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return tree


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
    if isinstance(statement, _DEFINITIONS):
        return [statement.name]
    if isinstance(statement, _IMPORTS):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    return [n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and _stored(n)]


def _stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _imports(*nodes: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    return [found for node in nodes for found in ast.walk(node) if isinstance(found, _IMPORTS)]


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level:
        raise NotImplementedError("Relative imports are not followed: write the whole name.")
    return [f"{node.module}.{alias.name}" for alias in node.names]


def _without_imports_of(tree: ast.Module, roots: dict[str, Path]) -> ast.Module:
    """``tree`` without imports of our own modules, which count by what they lead to."""
    for node in ast.walk(tree):
        for body in (getattr(node, field, None) for field in ("body", "orelse", "finalbody")):
            if isinstance(body, list):
                body[:] = [
                    statement
                    for statement in body
                    if not isinstance(statement, _IMPORTS)
                    or any(name.split(".")[0] not in roots for name in _names(statement))
                ]
    return tree


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _versions(libraries: set[str]) -> dict[str, str]:
    names = {name for library in libraries for name in _distributions().get(library, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}
