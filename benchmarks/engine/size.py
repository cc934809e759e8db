"""Lines of Leyden's engine and of Lightning's, with what they say of its parts' size.

Lines of code are those that hold a token of Python other than a comment or a text that stands alone: a docstring.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from pathlib import Path

from report import Row

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


@dataclass
class Size:
    """Of one or more modules, in lines."""

    total: int
    code: int
    module: int
    """The largest."""
    function: int
    """The longest, without its docstring."""


def size_of(source: str) -> Size:
    """Of a module's text."""
    tree = ast.parse(source)
    texts = lines_of_texts(tree)
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    functions = [
        len(set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) - texts)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    total = len(source.splitlines())
    return Size(total, len(code - texts), total, max(functions, default=0))


def lines_of_texts(tree: ast.AST) -> set[int]:
    """Lines of strings that are statements: docstrings, and what is said of an attribute below it."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def size_under(*folders: Path, without: tuple[str, ...] = ()) -> Size:
    """Of all modules under the folders, but for those in a folder of a name in ``without``."""
    sizes = [
        size_of(path.read_text())
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        if not set(without) & set(path.relative_to(folder).parts)
    ]
    return Size(
        sum(size.total for size in sizes),
        sum(size.code for size in sizes),
        max(size.module for size in sizes),
        max(size.function for size in sizes),
    )


def rows(leyden: Path, lightning: Path) -> list[Row]:
    """The table, from the folders of both packages."""
    sizes = {
        "leyden": size_under(leyden, without=("agent", "compat")),
        "lightning": size_under(lightning / "pytorch", lightning / "fabric"),
    }
    return [
        Row(what, {name: [getattr(size, part)] for name, size in sizes.items()}, "lines", target, digits=0)
        for what, part, target in (
            ("the engine, without agent and compat (Lightning: pytorch and fabric)", "total", 8000),
            ("of them code, without comments, docstrings and blanks", "code", None),
            ("the largest module", "module", 400),
            ("the longest function, without its docstring", "function", 60),
        )
    ]
