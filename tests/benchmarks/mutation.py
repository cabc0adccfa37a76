"""Small wrong programs (mutations): what is changed in one, and which there are."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("dp", "sampling", "encoding", "statistics", "related")

COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
}
CALLED = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}
CALLED |= {"floor": "ceil", "ceil": "floor"}

NO_DIVISOR = "1e-300"  # in the place of zero as a divisor, or in a logarithm: twice it is as good

# mutations that are the same program for all that a caller can see, by (file, its line of code, what stands there)
EQUAL = {
    (m["file"], m["line"], m["after"]): m["why"]
    for m in json.loads(Path(__file__).with_name("equal_mutations.json").read_text(encoding="utf-8"))
}


@dataclass(frozen=True)
class Mutation:
    """One wrong program.

    Args:
        path: of the file, in the repository.
        line, start, end: where, the last two as bytes of the file.
        before, after: text there.
        code: the line, without its indent.
    """

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str
    code: str = ""

    @property
    def room(self) -> str:
        """Folder in `raysynth/`."""
        return self.path.split("/")[1]

    @property
    def key(self) -> str:
        """Its name in files and on the command line."""
        return f"{self.path.removeprefix('raysynth/')}:{self.line}:{self.start}"

    def within(self, whole: bytes) -> bytes:
        """The file with it."""
        return whole[: self.start] + self.after.encode() + whole[self.end :]

    @property
    def is_equal(self) -> bool:
        """Whether it is held to be the same program."""
        return self.before == NO_DIVISOR or (self.path, self.code, self.after) in EQUAL


def mutations_of(path: Path, root: Path = ROOT) -> Iterator[Mutation]:
    """All mutations of a file, each of an expression of one or more lines."""
    text = path.read_bytes()
    begins, lines = [0], text.splitlines(keepends=True)
    for line in lines:
        begins.append(begins[-1] + len(line))
    name = path.relative_to(root).as_posix()
    for node, changed in _changes(ast.parse(text)):
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = begins[node.lineno - 1] + node.col_offset
        end = begins[node.end_lineno - 1] + node.end_col_offset
        before = text[start:end].decode()
        code = lines[node.lineno - 1].decode().strip()
        yield Mutation(name, node.lineno, start, end, before, f"({ast.unparse(changed)})", code)


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(expression, what stands there instead), of what is computed when the program runs."""
    for node in _computed(tree):
        match node:
            case ast.Compare(left, [op, *more], operands) if type(op) in COMPARED:
                yield node, ast.Compare(left, [COMPARED[type(op)](), *more], operands)
            case ast.BinOp(left, op, right) if type(op) in COMPUTED and not _is_text(left) and not _is_text(right):
                yield node, ast.BinOp(left, COMPUTED[type(op)](), right)
            case ast.BoolOp(op, values):
                yield node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            case ast.UnaryOp(ast.Not() | ast.USub(), operand):
                yield node, operand
            case ast.IfExp(test, body, other):
                yield node, ast.IfExp(ast.UnaryOp(ast.Not(), test), body, other)
            case ast.Constant(bool(value)):
                yield node, ast.Constant(not value)
            case ast.Constant(int(value) | float(value)):
                yield node, ast.Constant(value + 1 if isinstance(value, int) else 2 * value or 1.0)
            case ast.Call(ast.Name(name) | ast.Attribute(_, name)) if name in CALLED:
                func = node.func
                other = CALLED[name]
                changed = ast.Name(other) if isinstance(func, ast.Name) else ast.Attribute(func.value, other)
                yield node, ast.Call(changed, node.args, node.keywords)


def _computed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but types, texts (with what is set into them), asserted types and imports for typing."""
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _computed(child)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def drawn(n: int, seed: int, groups: Sequence[Sequence[str]] | None = None, root: Path = ROOT) -> list[Mutation]:
    """n mutations, as many from each group of files (paths; else each room), in turn: the first are a smaller sample.

    Fewer where a group has no more.
    """
    rng, of_groups = random.Random(seed), []
    for files in groups or [sorted((root / "raysynth" / room).rglob("*.py")) for room in ROOMS]:
        found = [m for file in files for m in mutations_of(root / file, root)]
        of_groups.append(rng.sample(found, min(len(found), -(-n // len(groups or ROOMS)))))
    return [m for together in zip(*of_groups, strict=True) for m in together][:n]


def tests_of(path: str, root: Path) -> list[str]:
    """Tests of the file's room, those named after the file or its folder first."""
    room, file = path.split("/")[1], Path(path)
    words = {file.stem, *file.stem.split("_"), file.parent.name} - {room}
    tests = sorted((root / "tests" / "unit" / room).rglob("test_*.py"))
    near = [len(words & {t.stem.removeprefix("test_"), *t.stem.split("_")[1:], t.parent.name}) for t in tests]
    named = [t.stem == f"test_{file.stem}" for t in tests]
    order = sorted(range(len(tests)), key=lambda i: (not named[i], -near[i], tests[i]))
    return [str(tests[i].relative_to(root)) for i in order]
