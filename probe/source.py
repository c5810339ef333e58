"""Source code without what decides nothing, and its digest: what is recomputed when code changes goes by it.

Comments, docstrings, layout and imports for type checkers are not in it, so that to change them makes nothing stale.

    source_digest(Path("probe/losses/arcface.py"))      # 64 hex digits
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def source_digest(file: Path) -> str:
    """Of a Python file, of its plain source; of any other, such as a compiled module, of its bytes."""
    text = ast.unparse(plain_source(file)).encode() if file.suffix == ".py" else file.read_bytes()
    return hashlib.sha256(text).hexdigest()


@cache
def plain_source(file: Path) -> ast.Module:
    """The parsed file, not to be changed."""
    return _Plain().visit(ast.parse(file.read_bytes()))


class _Plain(ast.NodeTransformer):
    """Takes out what decides nothing: texts that stand alone, which are docstrings, and imports for type checkers."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        return node.orelse or None if _is_for_type_checkers(node) else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _is_for_type_checkers(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
