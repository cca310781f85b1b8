"""What tells two lists of lines apart, in time that grows with their length; difflib takes its square or cube."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def changes(there: "Sequence[str]", want: "Sequence[str]") -> "Iterator[str]":
    """The lines to take away ("- line") and to add ("+ line"), in order, that make `want` of `there`.

    How often a line is still to come on the other side tells whether it goes, comes, or only moves.
    """
    old, new = list(reversed(there)), list(reversed(want))
    to_come, to_go = _counted(new), _counted(old)
    while old or new:
        if old and new and old[-1] == new[-1]:
            to_go[old.pop()] -= 1
            to_come[new.pop()] -= 1
        elif old and not (new and to_come.get(old[-1]) and not to_go.get(new[-1])):
            line = old.pop()
            to_go[line] -= 1
            yield f"- {line}"
        else:
            line = new.pop()
            to_come[line] -= 1
            yield f"+ {line}"


def _counted(lines: "Sequence[str]") -> "dict[str, int]":
    found: dict[str, int] = {}
    for line in lines:
        found[line] = found.get(line, 0) + 1
    return found
