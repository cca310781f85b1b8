"""What stands in ${…}: a subset of Python's expressions, checked node by node and turned into code.

Left out is all that could leave the data: attributes are fields of a mapping, methods come from a list, functions from
webhook.template.functions. A field that is missing is None, and so is any field of None:
`values.global.proxy.lifecycle` needs no guards.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from webhook.template.functions import FUNCTIONS, OF_THE_POD, text

METHODS = frozenset(
    [
        "endswith",
        "get",
        "items",
        "join",
        "keys",
        "lower",
        "removeprefix",
        "removesuffix",
        "replace",
        "rpartition",
        "partition",
        "rstrip",
        "split",
        "startswith",
        "strip",
        "upper",
        "values",
    ]
)
POD = "_pod"  # the render context in compiled code; functions OF_THE_POD get it as their first argument
_ALLOWED = (
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mod, ast.FloorDiv,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.IfExp,
    ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Slice, ast.Load, ast.Store, ast.Starred,
)  # fmt: skip


# A field may have the name of one of Python's keywords (values.global): it is written with a mark before it is parsed.
_KEYWORD_FIELD = re.compile(rf"""('[^']*'|"[^"]*")|\.\s*({"|".join(keyword.kwlist)})\b""")
_MARK = "_keyword_"


class ExpressionError(Exception):
    """An expression that is not one of this language; the compiler adds template and line."""


def split(source: str) -> list[str | ast.expr]:
    """A YAML string in its parts: literal text, where `$${` stands for `${`, and the expressions between ${ and }."""
    parts: list[str | ast.expr] = []
    literal, position = "", 0
    while (start := source.find("${", position)) >= 0:
        if start > 0 and source[start - 1] == "$":
            literal += source[position : start - 1] + "${"
            position = start + 2
            continue
        literal += source[position:start]
        if literal:
            parts.append(literal)
        end = _closing_brace(source, start + 2)
        parts.append(parse(source[start + 2 : end]))
        literal, position = "", end + 1
    literal += source[position:]
    if literal:
        parts.append(literal)
    return parts


def parse(source: str) -> ast.expr:
    """The syntax tree of one expression."""
    marked = _KEYWORD_FIELD.sub(lambda match: match[1] or f".{_MARK}{match[2]}", source)
    try:
        return ast.parse(marked.strip(), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"${{{source}}} is not an expression: {error.msg}") from error


def _closing_brace(source: str, position: int) -> int:
    depth, quote = 0, ""
    for index in range(position, len(source)):
        character = source[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                return index
            depth -= 1
    raise ExpressionError(f"{source[position - 2 :]!r} has no closing brace")


def field(value: Any, name: Any) -> Any:
    """A field of a mapping, or None; any field of None is None."""
    if type(value) is dict:  # the usual case, for a tenth of what isinstance(value, Mapping) takes
        return value.get(name)
    if value is None:
        return None
    if isinstance(value, Mapping):
        return value.get(name)
    raise TypeError(f"{_kind(value)} has no field {name!r}")


def item(value: Any, key: Any) -> Any:
    """`value[key]`: of a mapping as `field`, of a list or text by position or slice."""
    if isinstance(value, (list, tuple, str)):
        return value[key]
    return field(value, key)


def method(value: Any, name: str) -> Callable[..., Any]:
    """A method of a text or mapping, by a name out of METHODS."""
    found: Callable[..., Any] | None = getattr(value, name, None) if isinstance(value, (str, dict)) else None
    if found is None:
        raise TypeError(f"{_kind(value)} has no method {name}()")
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    """What $merge takes: a mapping, or None for an empty one."""
    if value is None or isinstance(value, Mapping):
        return value or {}
    raise TypeError(f"{_kind(value)} cannot be merged, only a mapping")


def _kind(value: object) -> str:
    names = {
        type(None): "nothing",
        str: "a text",
        list: "a list",
        bool: "a truth value",
        int: "a number",
        dict: "a mapping",
    }
    return names.get(type(value), type(value).__name__)


# What compiled code calls; the names cannot be written in an expression.
HELPERS: dict[str, Any] = {
    "_field": field,
    "_item": item,
    "_method": method,
    "_mapping": mapping,
    "_slice": slice,
    "_text": text,
}


@dataclass(frozen=True, slots=True)
class Known:
    """The value of an expression that needs no pod."""

    value: Any


class Translator:
    """Turns expressions into code. `constants` are the names whose values are known now; `names` those known later."""

    def __init__(self, constants: Mapping[str, Any], names: Collection[str]) -> None:
        self.constants: dict[str, Any] = dict(constants)
        self.names = set(names)
        self.used: set[str] = set()
        self.namespace: dict[str, Any] = {"__builtins__": {}, **HELPERS, **FUNCTIONS}
        self._shared: set[str] = set()

    def constant(self, value: object) -> ast.expr:
        """Code for a value that is known now: a literal where it is simple, else a name for the one shared value."""
        if isinstance(value, (str, int, float, bool, type(None))):
            return ast.Constant(value)
        name = f"_{len(self.namespace)}"
        self.namespace[name] = value
        self._shared.add(name)
        return ast.Name(name, ast.Load())

    def translate(self, node: ast.expr) -> ast.expr | Known:
        """The code of an expression, or its value where that is known now. Raises ExpressionError."""
        code = self._inner(node, frozenset())
        if isinstance(code, ast.Constant):
            return Known(code.value)
        if isinstance(code, ast.Name) and code.id in self._shared:
            return Known(self.namespace[code.id])
        return code

    def evaluate(self, code: ast.expr) -> Any:
        """The value of code that needs no pod. Raises ExpressionError where computing it fails."""
        module = ast.fix_missing_locations(ast.Expression(code))
        try:
            return eval(compile(module, "<constant>", "eval"), self.namespace)
        except Exception as error:
            raise ExpressionError(f"{type(error).__name__}: {error}") from error

    def _translate(self, node: ast.expr, bound: frozenset[str]) -> ast.expr:
        if isinstance(node, ast.Name):
            return self._name(node, bound)
        if isinstance(node, ast.Attribute):
            name = node.attr.removeprefix(_MARK)
            self._check_name(name)
            return self._call("_field", self._inner(node.value, bound), ast.Constant(name))
        if isinstance(node, ast.Subscript):
            key = node.slice
            code = self._slice(key, bound) if isinstance(key, ast.Slice) else self._inner(key, bound)
            return self._call("_item", self._inner(node.value, bound), code)
        if isinstance(node, ast.Call):
            return self._function(node, bound)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            return self._comprehension(node, bound)
        return self._children(node, bound)

    def _inner(self, node: ast.expr, bound: frozenset[str]) -> ast.expr:
        """An expression or a part of one, computed now where all that it reads is known now."""
        code = self._translate(node, bound)
        if isinstance(code, (ast.Constant, ast.Name, ast.Starred, ast.Slice)) or self._waits(node):
            return code
        return self.constant(self.evaluate(code))

    def _waits(self, node: ast.expr) -> bool:
        """Whether an expression reads what only the pod has. Names that it binds itself wait for nothing."""
        names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
        own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        free = {name.id for name in names} - own
        return bool(free & OF_THE_POD) or not all(name in self.constants or name in FUNCTIONS for name in free)

    def _children(self, node: ast.expr, bound: frozenset[str]) -> ast.expr:
        if not isinstance(node, _ALLOWED):
            raise ExpressionError(f"{ast.unparse(node)}: {type(node).__name__} is not part of the template language")
        fields: dict[str, Any] = {}
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                fields[name] = self._inner(value, bound)
            elif isinstance(value, list):
                fields[name] = [self._inner(v, bound) if isinstance(v, ast.expr) else self._operator(v) for v in value]
            else:
                fields[name] = self._operator(value)
        return type(node)(**fields)

    def _operator(self, node: object) -> object:
        if isinstance(node, ast.AST) and not isinstance(node, _ALLOWED):
            raise ExpressionError(f"operator {type(node).__name__} is not part of the template language")
        return node

    def _slice(self, node: ast.Slice, bound: frozenset[str]) -> ast.expr:
        ends = [
            ast.Constant(None) if end is None else self._inner(end, bound)
            for end in (node.lower, node.upper, node.step)
        ]
        return self._call("_slice", *ends)

    def _name(self, node: ast.Name, bound: frozenset[str]) -> ast.expr:
        if node.id in bound:
            return ast.Name(node.id, node.ctx)
        if node.id in self.constants:
            return self.constant(self.constants[node.id])
        if node.id not in self.names:
            known = ", ".join(sorted({*self.constants, *self.names}))
            raise ExpressionError(f"{node.id} is not known here; there are {known}")
        self.used.add(node.id)
        return ast.Name(node.id, ast.Load())

    def _function(self, node: ast.Call, bound: frozenset[str]) -> ast.expr:
        if any(keyword.arg is None for keyword in node.keywords):
            raise ExpressionError(f"{ast.unparse(node)}: ** is not part of the template language")
        arguments = [self._inner(argument, bound) for argument in node.args]
        keywords = [ast.keyword(keyword.arg, self._inner(keyword.value, bound)) for keyword in node.keywords]
        if isinstance(node.func, ast.Attribute):
            if node.func.attr not in METHODS:
                raise ExpressionError(f"method {node.func.attr}() is not one of {', '.join(sorted(METHODS))}")
            function = self._call("_method", self._inner(node.func.value, bound), ast.Constant(node.func.attr))
            return ast.Call(function, arguments, keywords)
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            raise ExpressionError(f"{ast.unparse(node.func)}() is not one of {', '.join(sorted(FUNCTIONS))}")
        if node.func.id in OF_THE_POD:
            arguments.insert(0, ast.Name(POD, ast.Load()))
        return ast.Call(ast.Name(node.func.id, ast.Load()), arguments, keywords)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp, bound: frozenset[str]) -> ast.expr:
        generators = []
        for generator in node.generators:
            if generator.is_async or not isinstance(generator.target, (ast.Name, ast.Tuple)):
                raise ExpressionError(f"{ast.unparse(generator)}: only names can be bound")
            iterated = self._inner(generator.iter, bound)
            inner = bound | {part.id for part in ast.walk(generator.target) if isinstance(part, ast.Name)}
            for name in inner - bound:
                self._check_name(name)
            conditions = [self._inner(condition, inner) for condition in generator.ifs]
            generators.append(ast.comprehension(generator.target, iterated, conditions, 0))
            bound = inner
        return type(node)(self._inner(node.elt, bound), generators)

    @staticmethod
    def _check_name(name: str) -> None:
        if name.startswith("_"):
            raise ExpressionError(f"{name}: names do not begin with an underscore")

    @staticmethod
    def _call(name: str, *arguments: ast.expr) -> ast.expr:
        return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
