"""From a command line and an environment to the configuration that they ask for, as istio-iptables reads them.

Its library, pflag, takes `-p15001`, `-p 15001`, `-p=15001`, `--x=y`, `--x y`, for booleans `--flag`, `--flag=false`,
`-nh`; `--` ends the flags.
A flag wins over a variable; a variable counts also when it is empty.
"""

from init.config import SETTINGS, Config
from init.errors import ConfigError
from init.variables import is_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# Booleans of older istio-iptables that ask for nothing which pyinit would do otherwise.
_WITHOUT_EFFECT = ("--restore-format", "-f", "--iptables-trace-logging", "--host-nsenter-exec")
_SWITCHES = {"-f", *(f"-{s.short}" for s in SETTINGS.values() if s.short and s.kind.boolean)}


def parse(argv: "Sequence[str]", environ: "Mapping[str, str]") -> Config:
    """The configuration that a command line (without the program's name) and environment ask for.

    Raises ConfigError that names every fault there is, not only the first.
    """
    given, faults = scan(argv)
    values: dict[str, Any] = {}
    for name, spec in SETTINGS.items():
        where, text = given.get(name) or next(
            ((f"variable {v}", environ[v]) for v in reversed(spec.variables) if is_set(v, environ)), (None, "")
        )
        if where is None:
            continue
        try:
            if spec.kind.boolean and not text and name in given:
                raise ValueError  # an empty variable means false, an empty flag nothing
            values[name] = spec.kind.parse(text)
        except ValueError as e:
            faults.append(
                f"{where}: {text!r} is not allowed{f': {e}' if str(e) else ''}; allowed is {spec.kind.allowed}"
            )
    config = Config(**values)
    faults.extend(config.contradictions())
    if faults and not (config.help or config.version):
        from init.host import unknown_owners

        raise ConfigError((*faults, *unknown_owners(config)), config)
    return config


def scan(argv: "Sequence[str]") -> "tuple[dict[str, tuple[str, str]], list[str]]":
    """What each setting was given: {field: (flag as written, text)}, and the faults found on the way."""
    flags = {f"--{s.flag}": name for name, s in SETTINGS.items()}
    flags.update({f"-{s.short}": name for name, s in SETTINGS.items() if s.short})
    given: dict[str, tuple[str, str]] = {}
    faults: list[str] = []
    words = list(reversed(argv[1:] if argv[:1] == ["istio-iptables"] else argv))
    ended = False
    while words:
        word = words.pop()
        if word == "--" and not ended:
            ended = True
            continue
        if word[:2] == "--":
            flag, equals, text = word.partition("=")
        elif len(word) > 1 and word[0] == "-":
            flag, text = word[:2], word[2:]
            if flag in _SWITCHES and text and text[0] != "=":
                words.append(f"-{text}")  # -nh is -n -h
                text = ""
            equals, text = "=" if text else "", text.removeprefix("=")
        if ended or len(word) < 2 or word[0] != "-":
            faults.append(f"{word!r} is no flag; pyinit takes flags alone, and --help lists them")
        elif flag.startswith("--log_"):
            takes_next = not equals and flag != "--log_as_json" and words
            _istio_log_flag(flag, words.pop() if takes_next else text, given)
        elif flag in flags:
            name = flags[flag]
            if SETTINGS[name].kind.boolean:
                text = text if equals else "true"
            elif not equals and not words:
                faults.append(f"{flag} needs a value: {SETTINGS[name].kind.allowed}")
                continue
            elif not equals:
                text = words.pop()
            given[name] = (_spelled(name), text)
        elif flag not in _WITHOUT_EFFECT:
            from init.hints import closest

            faults.append(f"{word!r}: there is no flag {flag}{closest(flag, flags)}; --help lists them all")
    return given, faults


def _spelled(name: str) -> str:
    spec = SETTINGS[name]
    return f"-{spec.short}, --{spec.flag}" if spec.short else f"--{spec.flag}"


def _istio_log_flag(flag: str, text: str, given: "dict[str, tuple[str, str]]") -> None:
    """Understand the log flags of Istio's templates; those that say where a log goes have no effect."""
    if flag == "--log_as_json":
        given.setdefault("log_format", (flag, "json" if text in ("", "true") else "text"))
    elif flag == "--log_output_level":
        # SCOPE:LEVEL,… of which pyinit has the one scope, default
        levels = [level for scope, _, level in (s.rpartition(":") for s in text.split(",")) if scope in ("", "default")]
        level = levels[-1] if levels else "info"
        given.setdefault("log_level", (flag, {"warning": "warn", "fatal": "error"}.get(level, level)))
