"""Queries: pure functions whose results are kept, with a record of what each has read.

    input ──read by──▶ query ──read by──▶ query ──read by──▶ … ──▶ what proxies are sent

When an input changes, what has read it, directly or not, is marked; nothing is computed before somebody asks. Then a
marked query first asks what it had read whether that changed, and is computed again only if so; a result that equals
the one before stops the change there. So a change costs what it reaches, and no list of who depends on what is ever
written by hand.

What nobody reads any more is forgotten by `collect`, unless it is held: `hold` before asking from outside for what is
to be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

CLEAN, CHECK, DIRTY, RUNNING = range(4)

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="Memo")


class Failed:
    """In the place of a result: the exception that the query ended with, raised again for whoever reads it."""

    __slots__ = ("_where", "error")

    def __init__(self, error: Exception) -> None:
        self.error, self._where = error, error.__traceback__

    def again(self) -> Exception:
        """The exception as it was: each raising would make its traceback longer."""
        return self.error.with_traceback(self._where)


NO_SOURCES: dict[Node, None] = {}  # of an input, and of what was not computed yet; replaced, never changed


class Node:
    """An input, or one query with one set of arguments."""

    __slots__ = ("args", "function", "held", "readers", "sources", "state", "value")

    def __init__(self, function: Callable[..., Any] | None, args: tuple[Hashable, ...], value: Any = None) -> None:
        self.function, self.args, self.value = function, args, value
        self.sources = NO_SOURCES
        self.readers: set[Node] = set()
        self.state = CLEAN if function is None else DIRTY
        self.held = 0

    def mark(self, state: int) -> None:
        """Something below changed: DIRTY where it is what this node reads itself, CHECK where it is further away."""
        if self.state < state:
            fresh = self.state == CLEAN
            self.state = state
            if fresh:
                for reader in self.readers:
                    reader.mark(CHECK)


class Memo:
    """All nodes; the world is one (see `mesh.world.world`)."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Node] = {}
        self._sources: dict[Node, None] | None = None  # of the query that is being computed
        self._unread: set[Node] = set()
        self.computed = 0
        """How many queries have been computed so far: what tests hold the cost of a change against."""

    def hold(self, asked: Callable[..., Any], *args: Hashable) -> Node:
        """Keeps this query until it is released as often as it was held; returns it, for `value`."""
        function = asked.__wrapped__  # type: ignore[attr-defined]
        node = self.nodes.get((function, *args))
        if node is None:
            node = self.nodes[function, *args] = Node(function, args)
        node.held += 1
        return node

    def value(self, node: Node) -> Any:
        """The result of a query that is held, asked from outside for the hundredth time: its arguments are long."""
        if node.state != CLEAN:
            self.bring_up(node)
        if type(node.value) is Failed:
            raise node.value.again()
        return node.value

    def release(self, asked: Callable[..., Any], *args: Hashable) -> None:
        """Undoes one `hold`."""
        node = self.nodes[asked.__wrapped__, *args]  # type: ignore[attr-defined]
        node.held -= 1
        self._unread.add(node)

    def input(self, key: tuple[Hashable, ...], default: Any) -> Any:
        """An input's value, recorded as read; `default` is what it has before it was ever set."""
        node = self.nodes.get(key)
        if node is None:
            node = self.nodes[key] = Node(None, key, default)
        self.record(node)
        return node.value

    def is_known(self, key: tuple[Hashable, ...]) -> bool:
        """Has this input been read: its default no longer counts."""
        return key in self.nodes

    def set_input(self, key: tuple[Hashable, ...], value: Any) -> None:
        """Gives an input its value; what has read it is marked."""
        node = self.nodes.get(key)
        if node is None:
            return  # nobody has read it: the value is taken from the world's tables when someone does
        node.value = value
        for reader in node.readers:
            reader.mark(DIRTY)

    def collect(self) -> int:
        """Forgets what nobody reads any more; returns how many nodes that were."""
        forgotten = 0
        while self._unread:
            node = self._unread.pop()
            if node.readers or node.held:
                continue
            self.nodes.pop(node.args if node.function is None else (node.function, *node.args), None)
            forgotten += 1
            for source in node.sources:
                source.readers.discard(node)
                if not source.readers:
                    self._unread.add(source)
            node.sources = NO_SOURCES
        return forgotten

    def __len__(self) -> int:
        return len(self.nodes)

    def record(self, node: Node) -> None:
        """Who is being computed has read this node; if nobody, it was asked from outside."""
        if self._sources is None:
            self._unread.add(node)
        else:
            self._sources[node] = None

    def bring_up(self, node: Node) -> None:
        """Computes a node that is not clean, if need be."""
        if node.state == RUNNING:
            raise RecursionError(f"query {node.function} reads itself with {node.args}")
        if node.state == CHECK:
            for source in node.sources:
                if source.state != CLEAN:
                    self.bring_up(source)
                    # a source whose result changed has marked its readers
                    if node.state == DIRTY:
                        break
            else:
                node.state = CLEAN
                return
        self._compute(node)

    def _compute(self, node: Node) -> None:
        before, outer = node.sources, self._sources
        self._sources = sources = node.sources = {}
        node.state = RUNNING
        self.computed += 1
        value: Any
        try:
            assert node.function is not None
            value = node.function(self, *node.args)
        except Exception as error:
            value = Failed(error)
        finally:
            self._sources = outer
            for source in sources:
                source.readers.add(node)
            for source in before.keys() - sources.keys() if before else ():
                source.readers.discard(node)
                if not source.readers:
                    self._unread.add(source)
            node.state = CLEAN
        if value is not node.value and (type(value) is Failed or type(node.value) is Failed or value != node.value):
            node.value = value
            for reader in node.readers:
                reader.mark(DIRTY)


def query(function: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Makes a pure function of the world, and of arguments that can be hashed, a query."""

    def ask(world: M, /, *args: Any) -> R:
        key = (function, *args)
        node = world.nodes.get(key)
        if node is None:
            node = world.nodes[key] = Node(function, args)
        # `record`, without a call: queries are asked some 70 times for each Service
        sources = world._sources
        if sources is None:
            world._unread.add(node)
        else:
            sources[node] = None
        if node.state != CLEAN:
            world.bring_up(node)
        value = node.value
        if type(value) is Failed:
            raise value.again()
        return value  # type: ignore[no-any-return]

    ask.__name__, ask.__doc__, ask.__module__ = function.__name__, function.__doc__, function.__module__
    ask.__qualname__, ask.__wrapped__ = function.__qualname__, function  # type: ignore[attr-defined]
    return cast("Callable[Concatenate[M, P], R]", ask)
