"""Lines of code of the package: no blank lines, comments or docstrings. `python tests/count_lines.py [--files]`."""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "raysynth"
QUIET = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(text: str) -> int:
    """Lines with a token of code, outside docstrings."""
    silent: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                silent |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in QUIET:
            found |= set(range(token.start[0], token.end[0] + 1))
    return len(found - silent)


def main() -> None:
    counts = {p.relative_to(PACKAGE).as_posix(): code_lines(p.read_text("utf-8")) for p in PACKAGE.rglob("*.py")}
    if "--files" in sys.argv[1:]:
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"{count:5} {name}")
    longest = max(len(p.read_text("utf-8").splitlines()) for p in PACKAGE.rglob("*.py"))
    middle = statistics.median(counts.values())
    print(
        f"{sum(counts.values()):,} lines of code in {len(counts)} files; median {middle:.0f}; longest {longest} lines"
    )


if __name__ == "__main__":
    main()
