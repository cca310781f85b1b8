"""--completion: what a shell needs to complete pyinit's command line, made of the settings themselves."""

from init import kinds
from init.config import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from init.config import Setting


def script(shell: str) -> str:
    """The script for bash, zsh or fish."""
    return "".join(f"{line}\n" for line in {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]())


def _bash() -> "Iterator[str]":
    flags = " ".join(f"--{s.flag}" + ("" if s.kind.boolean else "=") for s in SETTINGS.values())
    yield "_pyinit() {"
    yield "    local word=$2 flag=$3"
    yield "    [ \"$flag\" = '=' ] && flag=${COMP_WORDS[COMP_CWORD-2]}  # bash takes = for a word of its own"
    yield "    [ \"$word\" = '=' ] && word="
    yield '    case "$flag" in'
    for spec in SETTINGS.values():
        names = f"--{spec.flag}|-{spec.short}" if spec.short else f"--{spec.flag}"
        if spec.kind.words:
            yield f'    {names}) mapfile -t COMPREPLY < <(compgen -W "{" ".join(spec.kind.words)}" -- "$word") ;;'
        elif spec.kind is kinds.FILE:
            yield f'    {names}) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;'
        elif spec.kind is kinds.INTERFACES:
            yield f'    {names}) mapfile -t COMPREPLY < <(cd /sys/class/net && compgen -f -- "$word") ;;'
        elif not spec.kind.boolean:
            yield f"    {names}) COMPREPLY=() ;;"
    yield f'    *) mapfile -t COMPREPLY < <(compgen -W "{flags}" -- "$word")'
    yield '       if [[ "${COMPREPLY[0]}" == *= ]]; then compopt -o nospace; fi ;;'
    yield "    esac"
    yield "}"
    yield "complete -F _pyinit pyinit"


def _zsh() -> "Iterator[str]":
    yield "#compdef pyinit"
    yield "_pyinit() {"
    yield "    _arguments -s \\"
    yield from (f"        {_zsh_argument(spec)} \\" for spec in SETTINGS.values())
    yield "        && return 0"
    yield "}"
    # read by compinit it is the function's body, sourced it defines the function
    yield 'if [[ "${funcstack[1]}" = _pyinit ]]; then _pyinit "$@"; else compdef _pyinit pyinit; fi'


def _zsh_argument(spec: "Setting") -> str:
    value = ""
    if not spec.kind.boolean:
        choice = f"({' '.join(spec.kind.words)})" if spec.kind.words else ""
        choice = {kinds.FILE: "_files", kinds.INTERFACES: "_net_interfaces"}.get(spec.kind, choice)
        value = f":{_zsh_text(spec.kind.allowed)}:{choice}"
    tail = f"[{_zsh_text(spec.help)}]{value}".replace("'", "'\\''")
    long = f"--{spec.flag}" + ("" if spec.kind.boolean else "=")
    if not spec.short:
        return f"'{long}{tail}'"
    short = f"-{spec.short}" + ("" if spec.kind.boolean else "+")
    return f"'(-{spec.short} --{spec.flag})'{{{short},{long}}}'{tail}'"


def _zsh_text(text: str) -> str:
    for special in "\\[]:":
        text = text.replace(special, f"\\{special}")
    return text


def _fish() -> "Iterator[str]":
    yield "complete -c pyinit -f"
    for spec in SETTINGS.values():
        words = ["complete -c pyinit", f"-l {spec.flag}", f"-d {_fish_text(spec.help)}"]
        if spec.short:
            words.insert(1, f"-s {spec.short}")
        if spec.kind is kinds.FILE:
            words.append("-r -F")
        elif spec.kind is kinds.INTERFACES:
            words.append("-x -a '(command ls /sys/class/net)'")
        elif spec.kind.words:
            words.append(f"-x -a {_fish_text(' '.join(spec.kind.words))}")
        elif not spec.kind.boolean:
            words.append("-x")
        yield " ".join(words)


def _fish_text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
