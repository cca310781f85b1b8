"""From nodes to one Python function: mappings become dict displays, lists list displays, $for comprehensions.

A node compiles to a `_Code`: a syntax tree, or, where all of it is known now, the value itself. What is known is
carried upwards as a value for as long as possible, so that a whole constant subtree becomes one object that all pods
share.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from webhook.errors import TemplateError
from webhook.template import document
from webhook.template.expressions import POD, ExpressionError, Known, Translator, parse, split

_DIRECTIVES = ("$if", "$for", "$value", "$choose", "$merge", "$use")
_NONE = ast.Constant(None)


@dataclass(frozen=True, slots=True)
class _Code:
    """A node compiled: `tree` computes it, or where that is None `value` is it.

    condition  when the node is there at all; None: always
    optional   the node is not there where the tree's value is None
    absent     the node is never there
    """

    tree: ast.expr | None = None
    value: Any = None
    condition: ast.expr | None = None
    optional: bool = False
    absent: bool = False

    @property
    def constant(self) -> bool:
        return self.tree is None and self.condition is None


_ABSENT = _Code(absent=True)


class Compiler:
    """Compiles the nodes of one template."""

    def __init__(self, name: str, constants: Mapping[str, Any], names: frozenset[str]) -> None:
        self._name = name
        self._context_names = names
        self._expressions = Translator(constants, names)
        self._definitions: dict[str, Node] = {}
        self._using: list[str] = []
        self._temporaries = 0

    def define(self, root: MappingNode) -> dict[str, Node]:
        """Take up the fragments of a $define; the root's other entries are given back."""
        rest = dict(document.entries(self._name, root))
        self._definitions |= self._entries_of(rest.pop("$define", None), "$define")
        return rest

    def compile(self, root: MappingNode, filename: str) -> tuple[Callable[[Any], dict[str, Any]], frozenset[str]]:
        """The template's function of a context, and the names of the context that it reads."""
        rest = self.define(root)
        lets = self._entries_of(rest.pop("$let", None), "$let")
        body: list[ast.stmt] = [statement for name, node in lets.items() for statement in self._let(name, node)]
        body.append(ast.Return(self._tree(self._plain_mapping(rest, root))))
        used = frozenset(self._expressions.used) & self._context_names - set(lets)
        read = [_assign(name, ast.Attribute(ast.Name(POD, ast.Load()), name, ast.Load())) for name in sorted(used)]
        parameters = ast.arguments([], [ast.arg(POD)], None, [], [], None, [])
        function = ast.FunctionDef("render", parameters, [*read, *body], [], None, None, lineno=1, col_offset=0)
        namespace = self._expressions.namespace
        exec(compile(ast.fix_missing_locations(ast.Module([function], [])), filename, "exec"), namespace)
        return namespace["render"], used

    def _let(self, name: str, node: Node) -> list[ast.stmt]:
        """Bind a name: as a constant where its value is known, else by a statement."""
        if not name.isidentifier() or name.startswith("_"):
            raise TemplateError(self._name, document.line(node), f"$let: {name} is no name")
        code = self._expression(node, "$let")
        if code.constant:
            self._expressions.constants[name] = code.value
            return []
        self._expressions.names.add(name)
        return [_assign(name, self._tree(code))]

    def _node(self, node: Node) -> _Code:
        if isinstance(node, SequenceNode):
            return self._sequence(node)
        if isinstance(node, MappingNode):
            return self._mapping(node)
        if not isinstance(node, ScalarNode):
            raise TemplateError(self._name, document.line(node), "not a mapping, list or scalar")
        value = document.scalar(node)
        return self._text(node, value) if isinstance(value, str) and "${" in value else _Code(value=value)

    def _text(self, node: Node, source: str) -> _Code:
        """A string with expressions: the value itself where it is one expression alone, else text."""
        try:
            parts = split(source)
            if len(parts) == 1 and isinstance(parts[0], ast.expr):
                return self._translated(node, parts[0])
            codes = [part if isinstance(part, str) else self._translated(node, part) for part in parts]
        except ExpressionError as error:
            raise TemplateError(self._name, document.line(node), str(error)) from error
        pieces: list[ast.expr] = []
        for code in codes:
            if isinstance(code, str):
                pieces.append(ast.Constant(code))
            elif code.constant:
                pieces.append(ast.Constant(self._expressions.namespace["_text"](code.value)))
            else:
                call = ast.Call(ast.Name("_text", ast.Load()), [self._tree(code)], [])
                pieces.append(ast.FormattedValue(_at(call, document.line(node)), -1))
        if all(isinstance(piece, ast.Constant) for piece in pieces):
            return _Code(value="".join(str(piece.value) for piece in pieces if isinstance(piece, ast.Constant)))
        return _Code(ast.JoinedStr(pieces))

    def _expression(self, node: Node | None, where: str) -> _Code:
        """What a directive has as its expression, written without ${ }."""
        if not isinstance(node, ScalarNode):
            raise TemplateError(self._name, document.line(node) if node else 1, f"{where} takes an expression")
        value = document.scalar(node)
        if not isinstance(value, str):
            return _Code(value=value)
        try:
            return self._translated(node, parse(value))
        except ExpressionError as error:
            raise TemplateError(self._name, document.line(node), f"{where}: {error}") from error

    def _translated(self, node: Node, expression: ast.expr) -> _Code:
        code = self._expressions.translate(expression)
        if isinstance(code, Known):
            return _ABSENT if code.value is None else _Code(value=code.value)
        return _Code(_at(code, document.line(node)), optional=True)

    def _sequence(self, node: SequenceNode) -> _Code:
        codes = [code for item in node.value for code in self._items(item)]
        if all(isinstance(code, _Code) and code.constant for code in codes):
            return _Code(value=[code.value for code in codes if isinstance(code, _Code)])
        elements = [code if isinstance(code, ast.expr) else self._element(code) for code in codes]
        return _Code(ast.List(elements, ast.Load()))

    def _items(self, node: Node) -> list[_Code | ast.expr]:
        """What one item of a list compiles to: none, one or, with $for and $use, several."""
        if not isinstance(node, MappingNode):
            return _present(self._node(node))
        entries = dict(document.entries(self._name, node))
        if "$for" in entries:
            return self._loop(entries, node)
        used = entries.get("$use")
        if used is not None and isinstance(fragment := self._fragment(used), SequenceNode):
            code = self._conditional(entries, self._guarded(used, self._sequence, fragment))
            if code.absent:
                return []
            if code.constant:
                return [_Code(value=value) for value in code.value]
            tree = self._tree(replace(code, condition=None))
            return [
                ast.Starred(
                    _if(code.condition, tree, ast.Tuple([], ast.Load())) if code.condition else tree, ast.Load()
                )
            ]
        return _present(self._mapping(node))

    def _loop(self, entries: dict[str, Node], node: MappingNode) -> list[_Code | ast.expr]:
        """`$for: name in expression`; unrolled where what is iterated over is known."""
        loop, line = entries.pop("$for"), document.line(node)
        target, _, iterated = (loop.value if isinstance(loop, ScalarNode) else "").partition(" in ")
        names = [name.strip() for name in target.split(",")]
        if not iterated or not all(name.isidentifier() and not name.startswith("_") for name in names):
            raise TemplateError(
                self._name, line, "$for takes `name in expression` or `key, value in expression.items()`"
            )
        if taken := {*names} & {*self._expressions.names, *self._expressions.constants}:
            raise TemplateError(self._name, line, f"$for: {', '.join(taken)} has a meaning already")
        try:
            over = self._translated(loop, parse(iterated))
        except ExpressionError as error:
            raise TemplateError(self._name, line, f"$for: {error}") from error
        if over.absent or over.constant:
            return [code for value in over.value or () for code in self._unrolled(names, value, entries, node)]
        self._expressions.names |= set(names)
        inner = self._directives(entries, node)
        self._expressions.names -= set(names)
        if inner.absent:
            return []
        conditions = [inner.condition] if inner.condition is not None else []
        element = self._tree(replace(inner, condition=None))
        if inner.optional:
            name, element = self._temporary(element)
            conditions.append(ast.Compare(element, [ast.IsNot()], [_NONE]))
            element = ast.Name(name, ast.Load())
        stores: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
        goal = stores[0] if len(stores) == 1 else ast.Tuple(stores, ast.Store())
        iterable = ast.BoolOp(ast.Or(), [self._tree(over), ast.Tuple([], ast.Load())])
        comprehension = ast.ListComp(element, [ast.comprehension(goal, iterable, conditions, 0)])
        return [ast.Starred(comprehension, ast.Load())]

    def _unrolled(
        self, names: list[str], value: Any, entries: dict[str, Node], node: MappingNode
    ) -> list[_Code | ast.expr]:
        values = [value] if len(names) == 1 else list(value)
        before = dict(self._expressions.constants)
        self._expressions.constants |= dict(zip(names, values, strict=True))
        code = self._directives(dict(entries), node)
        self._expressions.constants = before
        return _present(code)

    def _mapping(self, node: MappingNode) -> _Code:
        entries = dict(document.entries(self._name, node))
        if "$for" in entries:
            raise TemplateError(self._name, document.line(node), "$for stands only in an item of a list")
        return self._directives(entries, node)

    def _directives(self, entries: dict[str, Node], node: MappingNode) -> _Code:
        """A mapping with its $if, and with what else may stand for it: $value, $choose, $use."""
        instead = [key for key in ("$value", "$choose", "$use") if key in entries]
        if unknown := [key for key in entries if key.startswith("$") and key not in _DIRECTIVES]:
            raise TemplateError(self._name, document.line(node), f"{unknown[0]} is not one of {', '.join(_DIRECTIVES)}")
        if instead and len(entries.keys() - {"$if"}) > 1:
            raise TemplateError(self._name, document.line(node), f"{instead[0]} stands alone, or with $if or $for")
        if not instead:
            fields = {key: value for key, value in entries.items() if key != "$if"}
            return self._conditional(entries, lambda: self._plain_mapping(fields, node))
        inner = entries[instead[0]]
        if instead[0] == "$use":
            return self._conditional(entries, self._guarded(inner, self._node, self._fragment(inner)))
        if instead[0] == "$choose":
            return self._conditional(entries, lambda: self._choice(inner))
        return self._conditional(entries, lambda: self._node(inner))

    def _conditional(self, entries: dict[str, Node], compiled: Callable[[], _Code]) -> _Code:
        """What `compiled` makes under the entries' $if; not even compiled where that is known to be false."""
        if "$if" not in entries:
            return compiled()
        condition = self._expression(entries["$if"], "$if")
        if condition.tree is None:
            return compiled() if condition.value else _ABSENT
        code = compiled()
        if code.absent:
            return code
        both = condition.tree if code.condition is None else ast.BoolOp(ast.And(), [condition.tree, code.condition])
        return replace(code, condition=both)

    def _choice(self, node: Node) -> _Code:
        """$choose: the first of the list that is there."""
        result = _ABSENT
        for item in reversed(document.items(node)):
            code = self._node(item)
            if code.absent:
                continue
            if code.condition is None and not code.optional:
                result = code
                continue
            otherwise = _NONE if result.absent else self._tree(result)
            condition, tree = code.condition, self._tree(replace(code, condition=None))
            if condition is None:
                name, stored = self._temporary(tree)
                condition, tree = ast.Compare(stored, [ast.IsNot()], [_NONE]), ast.Name(name, ast.Load())
            result = _Code(_if(condition, tree, otherwise), optional=result.absent or result.optional)
        return result

    def _plain_mapping(self, fields: dict[str, Node], node: MappingNode) -> _Code:
        parts: list[tuple[str, _Code]] = []
        for key, value in fields.items():
            code = self._expression(value, "$merge") if key == "$merge" else self._node(value)
            if not code.absent:
                parts.append((key, code))
        if all(code.constant for _, code in parts):
            known: dict[str, Any] = {}
            for key, code in parts:
                known |= self._merged(code.value, node) if key == "$merge" else {key: code.value}
            return _Code(value=known)
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for key, code in parts:
            if key == "$merge":
                keys.append(None)
                values.append(
                    _at(ast.Call(ast.Name("_mapping", ast.Load()), [self._tree(code)], []), document.line(node))
                )
            elif code.optional or code.condition is not None:
                keys.append(None)
                values.append(self._entry(key, code))
            else:
                keys.append(ast.Constant(key))
                values.append(self._tree(code))
        return _Code(ast.Dict(keys, values))

    def _merged(self, value: object, node: MappingNode) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise TemplateError(self._name, document.line(node), f"$merge: {value!r} is not a mapping")
        return value

    def _entry(self, key: str, code: _Code) -> ast.expr:
        """`**` of this: the entry where it is there, else nothing."""
        empty = ast.Dict([], [])
        tree = self._tree(replace(code, condition=None))
        if not code.optional:
            assert code.condition is not None
            return _if(code.condition, ast.Dict([ast.Constant(key)], [tree]), empty)
        if code.condition is not None:
            tree = _if(code.condition, tree, _NONE)
        name, stored = self._temporary(tree)
        entry = ast.Dict([ast.Constant(key)], [ast.Name(name, ast.Load())])
        return _if(ast.Compare(stored, [ast.Is()], [_NONE]), empty, entry)

    def _element(self, code: _Code) -> ast.expr:
        """A list's element, or `*` of a tuple that has it where it is there."""
        if not code.optional and code.condition is None:
            return self._tree(code)
        empty = ast.Tuple([], ast.Load())
        tree = self._tree(replace(code, condition=None))
        if not code.optional:
            assert code.condition is not None
            return ast.Starred(_if(code.condition, ast.Tuple([tree], ast.Load()), empty), ast.Load())
        if code.condition is not None:
            tree = _if(code.condition, tree, _NONE)
        name, stored = self._temporary(tree)
        one = ast.Tuple([ast.Name(name, ast.Load())], ast.Load())
        return ast.Starred(_if(ast.Compare(stored, [ast.Is()], [_NONE]), empty, one), ast.Load())

    def _tree(self, code: _Code) -> ast.expr:
        tree = code.tree if code.tree is not None else self._expressions.constant(code.value)
        return tree if code.condition is None else _if(code.condition, tree, _NONE)

    def _temporary(self, tree: ast.expr) -> tuple[str, ast.expr]:
        """A name for a value that is needed twice, and the expression that binds and yields it."""
        self._temporaries += 1
        name = f"_t{self._temporaries}"
        return name, ast.NamedExpr(ast.Name(name, ast.Store()), tree)

    def _fragment(self, node: Node) -> Node:
        name = node.value if isinstance(node, ScalarNode) else ""
        if name not in self._definitions:
            known = ", ".join(sorted(self._definitions))
            raise TemplateError(self._name, document.line(node), f"$use: {name!r} is not in $define; there are {known}")
        return self._definitions[name]

    def _guarded(self, use: Node, compiled: Callable[[Any], _Code], fragment: Node) -> Callable[[], _Code]:
        """Compile a fragment; one that uses itself has no end."""

        def run() -> _Code:
            if use.value in self._using:
                raise TemplateError(self._name, document.line(use), f"$use: {use.value} uses itself")
            self._using.append(use.value)
            try:
                return compiled(fragment)
            finally:
                self._using.pop()

        return run

    def _entries_of(self, node: Node | None, where: str) -> dict[str, Node]:
        if node is None:
            return {}
        if not isinstance(node, MappingNode):
            raise TemplateError(self._name, document.line(node), f"{where} takes a mapping")
        return dict(document.entries(self._name, node))


def _present(code: _Code) -> list[_Code | ast.expr]:
    return [] if code.absent else [code]


def _if(condition: ast.expr, then: ast.expr, otherwise: ast.expr) -> ast.expr:
    return ast.IfExp(condition, then, otherwise)


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _at(tree: ast.expr, line: int) -> ast.expr:
    """Give a tree the line of the template that it comes from: Python's traceback then names it."""
    for part in ast.walk(tree):
        if isinstance(part, (ast.expr, ast.keyword)):
            part.lineno = part.end_lineno = line
            part.col_offset = part.end_col_offset = 0
    return tree
