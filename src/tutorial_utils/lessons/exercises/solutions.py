"""The solutions in ``notebooks/solutions``: one file a lesson, one function an exercise."""

import ast
import runpy
from collections.abc import Callable
from pathlib import Path

from tutorial_utils.core import paths


def path(lesson: str) -> Path:
    """The file of a lesson, which is named by its two digits."""
    return paths.repository() / "notebooks" / "solutions" / f"s{lesson}.py"


def function(exercise: str) -> Callable:
    """The solution of an exercise, ``lesson.function``."""
    lesson, name = exercise.split(".")
    return runpy.run_path(str(path(lesson)))[name]


def source(exercise: str) -> str:
    """Its source, and before it all that it needs of its file."""
    lesson, name = exercise.split(".")
    module = path(lesson).read_text(encoding="utf-8")
    body = ast.parse(module).body
    defined = {one: node for node in body for one in _names_of(node)}
    needed, todo = set(), [name]
    while todo:
        if (node := defined.get(todo.pop())) and node not in needed:
            needed.add(node)
            todo += [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]
    parts = [ast.get_source_segment(module, node) or "" for node in body if node in needed]
    return "\n\n".join(parts)


def _names_of(node: ast.stmt) -> list[str]:
    """What a statement of a module defines."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [one.asname or one.name.partition(".")[0] for one in node.names]
    if isinstance(node, ast.Assign):
        return [one.id for one in node.targets if isinstance(one, ast.Name)]
    return [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
