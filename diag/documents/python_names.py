"""What the names and expressions of a Python file mean, as far as its syntax tree says so; nothing is ever run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

MAX_DEPTH: Final = 48
"""Nesting of expressions, and chains of names, that are followed."""

MAX_STEPS: Final = 100_000
"""Expressions evaluated of one file; more are unknown, so that no file can take forever."""

MAX_TEXT: Final = 10_000
"""Characters of a text, and bits of a number, that are put together."""

MUTATORS: Final = frozenset(
    ["update", "pop", "popitem", "setdefault", "clear", "append", "extend", "insert", "remove", "sort", "reverse", "add", "discard"]
)
"""Methods that change what a name holds."""

DTYPE_MODULES: Final = frozenset({"torch", "jnp"})
LOWERED: Final = frozenset({"IntervalStrategy", "EvaluationStrategy", "SaveStrategy", "SchedulerType", "OptimizerNames", "HubStrategy"})
"""Enumerations of transformers whose members are the lower-case words that configs use."""

OPERATIONS: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}

CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {"int": int, "float": float, "str": str, "bool": bool}


class ComputedError(Exception):
    """An expression has a value that only running the file can tell; says why."""


@dataclass(slots=True, eq=False)
class Scope:
    """A module, function or class body: how often each name is bound in it, and the value where it is bound plainly."""

    node: ast.AST
    parent: Scope | None
    counts: dict[str, int] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)

    def bind(self, name: str, times: int = 1) -> None:
        """Note that a name is bound here."""
        self.counts[name] = self.counts.get(name, 0) + times


class Names:
    """The names of a file.

    Attributes:
        module: the outermost scope.
        imports: name to what it is imported from (``training_hub.sft``).
        calls: every call with the scope that it stands in, in the order of the file.
        loads: names that are read anywhere.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.module = Scope(tree, None)
        self.imports: dict[str, str] = {}
        self.starred: set[str] = set()
        self.calls: list[tuple[ast.Call, Scope]] = []
        self.loads: set[str] = set()
        self._mutated: set[str] = set()
        self._parsed: set[str] = set()
        self._defaults: dict[str, ast.Call | None] = {}
        self._steps = MAX_STEPS
        stack: list[tuple[ast.AST, Scope]] = [(tree, self.module)]
        while stack:
            node, scope = stack.pop()
            inner = self._note(node, scope)
            stack.extend((child, inner) for child in ast.iter_child_nodes(node))
        self.calls.sort(key=lambda item: (item[0].lineno, item[0].col_offset))

    def _note(self, node: ast.AST, scope: Scope) -> Scope:
        """Take a node in; the scope of what it holds."""
        match node:
            case ast.Name():
                if isinstance(node.ctx, ast.Load):
                    self.loads.add(node.id)
                else:
                    scope.bind(node.id)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        scope.values[target.id] = value
                    self._note_parsed(target, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                scope.values[name] = value
                self._note_parsed(node.target, value)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                scope.bind(node.name)
                return Scope(node, scope)
            case ast.Lambda():
                return Scope(node, scope)
            case ast.arg():
                scope.bind(node.arg)
            case ast.Import(names=names):
                for alias in names:
                    name = alias.asname or alias.name.partition(".")[0]
                    scope.bind(name)
                    self.imports[name] = alias.name if alias.asname else name
            case ast.ImportFrom(names=names, module=module):
                for alias in names:
                    if alias.name == "*":
                        self.starred.add(module or "")
                    scope.bind(alias.asname or alias.name)
                    self.imports[alias.asname or alias.name] = f"{module or ''}.{alias.name}"
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                for name in names:
                    self.module.bind(name, 2)
                    scope.bind(name, 2)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                scope.bind(name)
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                self._mutated.add(name)
            case ast.Call():
                self._note_call(node, scope)
            case _:
                pass
        return scope

    def _note_parsed(self, target: ast.expr, value: ast.expr) -> None:
        """``args = parser.parse_args()``, also ``args, rest = parser.parse_known_args()``."""
        first = target.elts[0] if isinstance(target, ast.Tuple) and target.elts else target
        parsing = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr
        if isinstance(first, ast.Name) and parsing in ("parse_args", "parse_known_args"):
            self._parsed.add(first.id)

    def _note_call(self, node: ast.Call, scope: Scope) -> None:
        self.calls.append((node, scope))
        if not isinstance(node.func, ast.Attribute):
            return
        if isinstance(node.func.value, ast.Name) and node.func.attr in MUTATORS:
            self._mutated.add(node.func.value.id)
        if node.func.attr == "add_argument":
            options = [item.value for item in node.args if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            name = next((item.value.value for item in node.keywords if item.arg == "dest" and isinstance(item.value, ast.Constant)), None)
            if not isinstance(name, str):
                name = next((item for item in options if item.startswith("--")), options[0] if options else "").lstrip("-")
            name = name.replace("-", "_")
            self._defaults[name] = None if name in self._defaults else node

    def imported(self, node: ast.expr) -> str:
        """The dotted name of what is called, with imported names put in; "" if it is no dotted name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute) and len(parts) < MAX_DEPTH:
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.imports.get(node.id, node.id), *reversed(parts)])

    def meaning(self, node: ast.expr, scope: Scope, leaves: list[ast.expr] | None = None) -> Any:
        """The value of an expression.

        Args:
            node: the expression.
            scope: where it stands.
            leaves: receives the literals that it is made of.

        Raises:
            ComputedError: only running the file can tell.
        """
        return self._meaning(node, scope, leaves if leaves is not None else [], 0)

    def _meaning(self, node: ast.expr, scope: Scope, leaves: list[ast.expr], depth: int) -> Any:
        self._steps -= 1
        if depth > MAX_DEPTH or self._steps < 0:
            raise ComputedError("it is nested too deeply")
        follow, inner = self.follow(node, scope)
        if follow is not node:
            return self._meaning(follow, inner, leaves, depth + 1)
        match node:
            case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
                leaves.append(node)
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                leaves.append(node)
                return [self._meaning(item, scope, leaves, depth + 1) for item in items]
            case ast.Dict():
                leaves.append(node)
                return {key: self._meaning(value, scope, leaves, depth + 1) for key, _, value in entries(node)}
            case ast.Call(func=ast.Name(id="dict"), args=[]):
                leaves.append(node)
                return {key: self._meaning(value, scope, leaves, depth + 1) for key, _, value in entries(node)}
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in CONVERSIONS:
                return self._converted(name, self._meaning(argument, scope, leaves, depth + 1))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                value = self._meaning(operand, scope, leaves, depth + 1)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    return -value if isinstance(node.op, ast.USub) else value
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._meaning(operand, scope, leaves, depth + 1)
            case ast.BinOp(left=left, right=right):
                one, other = self._meaning(left, scope, leaves, depth + 1), self._meaning(right, scope, leaves, depth + 1)
                return _operated(OPERATIONS.get(type(node.op)), one, other)
            case ast.JoinedStr(values=values):
                return "".join(self._formatted(value, scope, leaves, depth) for value in values)[:MAX_TEXT]
            case ast.Attribute(value=ast.Name(id=module), attr=attribute):
                origin = self.imports.get(module, module).rpartition(".")[2]
                if module in DTYPE_MODULES or origin in DTYPE_MODULES:
                    return attribute
                if origin in LOWERED:
                    return attribute.lower()
                if origin == "TaskType":
                    return attribute
        raise ComputedError(_why(node))

    def _formatted(self, node: ast.expr, scope: Scope, leaves: list[ast.expr], depth: int) -> str:
        if isinstance(node, ast.FormattedValue):
            if node.conversion != -1 or node.format_spec is not None:
                raise ComputedError("it is a formatted text")
            node = node.value
        return str(self._meaning(node, scope, leaves, depth + 1))

    def _converted(self, name: str, value: Any) -> Any:
        try:
            return CONVERSIONS[name](value)
        except (ValueError, TypeError, OverflowError):
            raise ComputedError(f"{name}() fails on it") from None

    def follow(self, node: ast.expr, scope: Scope) -> tuple[ast.expr, Scope]:
        """What a name, ``args.name`` or ``name["key"]`` stands for and where that stands; the expression itself for all others.

        Raises:
            ComputedError: the name is not bound exactly once to an expression.
        """
        match node:
            case ast.Name(id=name):
                if name in self._mutated:
                    raise ComputedError(f"{name} is changed after it is assigned")
                within: Scope | None = scope
                while within is not None:
                    if name in within.counts and (within is scope or not isinstance(within.node, ast.ClassDef)):
                        if within.counts[name] == 1 and name in within.values:
                            return within.values[name], within
                        raise ComputedError(f"{name} is not assigned one literal")
                    within = within.parent
                raise ComputedError(f"{name} is not assigned in this file")
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in self._parsed:
                return self._default(attribute), self.module
            case ast.Subscript(value=holder, slice=ast.Constant(value=str(key))):
                inner = scope
                for _ in range(MAX_DEPTH):
                    followed, inner = self.follow(holder, inner)
                    if followed is holder:
                        break
                    holder = followed
                found = [item for name, _, item in entries(holder) if name == key] if is_mapping(holder) else []
                if len(found) == 1:
                    return found[0], inner
                raise ComputedError("it is looked up in something that is no literal mapping")
        return node, scope

    def _default(self, name: str) -> ast.expr:
        """What ``args.name`` is if the command line does not set it."""
        call = self._defaults.get(name)
        if call is None:
            raise ComputedError(f"--{name} is not declared once with a default")
        given = {item.arg: item.value for item in call.keywords}
        action = given.get("action")
        if "default" in given:
            return given["default"]
        if isinstance(action, ast.Constant) and action.value in ("store_true", "store_false"):
            return ast.copy_location(ast.Constant(action.value == "store_false"), _nowhere())
        raise ComputedError(f"--{name} has no default")


def _nowhere() -> ast.expr:
    """A place for a literal that is nowhere in the file."""
    return ast.Constant(None, lineno=0, col_offset=0, end_lineno=0, end_col_offset=0)


def is_mapping(node: ast.AST) -> bool:
    """Whether an expression is a mapping with keys that can be read: ``{"a": 1}`` or ``dict(a=1)``."""
    return isinstance(node, ast.Dict) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args
    )


def entries(node: ast.AST) -> Iterator[tuple[str, ast.expr | ast.keyword, ast.expr]]:
    """Key, where it stands, and value of a literal mapping.

    Raises:
        ComputedError: a key is computed or comes from another mapping.
    """
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str | int | float | bool):
                raise ComputedError("a key of it is computed")
            yield str(key.value), key, value
    elif isinstance(node, ast.Call):
        for item in node.keywords:
            if item.arg is None:
                raise ComputedError("a part of it is computed")
            yield item.arg, item, item.value


def _operated(operation: Callable[[Any, Any], Any] | None, one: Any, other: Any) -> Any:
    """Arithmetic on numbers, and texts put together; within bounds."""
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in (one, other))
    texts = operation is operator.add and isinstance(one, str) and isinstance(other, str) and len(one) + len(other) <= MAX_TEXT
    if operation is None or not (numbers or texts):
        raise ComputedError("it is computed")
    if operation is operator.pow and isinstance(one, int) and isinstance(other, int) and one.bit_length() * abs(other) > MAX_TEXT:
        raise ComputedError("it is too large a number")
    try:
        value = operation(one, other)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ComputedError(f"its arithmetic fails ({type(error).__name__})") from None
    if isinstance(value, complex) or (isinstance(value, int) and value.bit_length() > MAX_TEXT):
        raise ComputedError("it is no plain number")
    return value


def _why(node: ast.expr) -> str:
    match node:
        case ast.Call():
            return "it is the result of a call"
        case ast.IfExp() | ast.BoolOp() | ast.Compare():
            return "it depends on a condition"
        case ast.Attribute():
            return "it is an attribute of an object"
        case _:
            return "it is computed"


__all__ = ["ComputedError", "Names", "Scope", "entries", "is_mapping"]
