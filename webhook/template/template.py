"""A compiled template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from webhook.errors import RenderError
from webhook.template import document
from webhook.template.compiler import Compiler


class Template:
    """A template whose settings are known: `render` makes the overlay for a pod.

    names  what the template asks of the context: each an attribute that `render`'s argument must have
    """

    def __init__(
        self, name: str, names: frozenset[str], function: Callable[[Any], dict[str, Any]], filename: str
    ) -> None:
        self.name = name
        self.names = names
        self._function = function
        self._filename = filename

    @classmethod
    def compile(
        cls, name: str, source: str, constants: Mapping[str, Any], names: frozenset[str], fragments: str = ""
    ) -> Template:
        """Compile a template's text.

        `constants` are the names whose values are known (values, mesh, revision), `names` those that a context will
        have. `fragments` is a second text, whose $define every template can $use. Raises TemplateError.
        """
        filename = f"<template {name}>"
        compiler = Compiler(name, constants, names)
        if fragments:
            compiler.define(document.parse("fragments", fragments))
        function, used = compiler.compile(document.parse(name, source), filename)
        return cls(name, used, function, filename)

    def render(self, context: object) -> dict[str, Any]:
        """The overlay for a pod: parts of it are shared with other pods' and must not be changed.

        Raises RenderError, with the template's line, where an expression fails on this pod.
        """
        try:
            return self._function(context)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
            raise RenderError(self.name, self._line(error), f"{type(error).__name__}: {error}") from error

    def _line(self, error: BaseException) -> int:
        line, frame = 0, error.__traceback__
        while frame is not None:
            if frame.tb_frame.f_code.co_filename == self._filename:
                line = frame.tb_lineno
            frame = frame.tb_next
        return line
