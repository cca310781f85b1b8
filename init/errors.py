"""What can go wrong, as a tree; a class owns its exit code.

PyinitError
├── ConfigError       1    bad input; nothing was touched
├── RefusedError      2    the kernel or a binary refused; all is as it was
│   └── RollbackError     …and taking back what was done failed too: the message says what is left
├── DriftError        3    other rules of ours are in force, and --reconcile was not given
└── ValidationError 126    the rules are there but packets do not go where they should
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from init.config import Config


class PyinitError(Exception):
    """Base of all errors that pyinit reports; the message is for the person who reads the pod's log."""

    exit_code = 2


class ConfigError(PyinitError):
    """Settings that are not allowed. `faults` has one line each: the flag or variable, its value, what is allowed.

    asked: what was understood, with defaults for the rest; how to tell the faults stands in there.
    """

    exit_code = 1

    def __init__(self, faults: "tuple[str, ...]", asked: "Config") -> None:
        super().__init__("\n".join(faults))
        self.faults, self.asked = faults, asked


class RefusedError(PyinitError):
    """The kernel or a binary refused. The message says what is missing and the way out."""

    exit_code = 2


class UnsupportedError(RefusedError):
    """The kernel or a binary lacks what this backend needs; another backend may work."""


class RollbackError(RefusedError):
    """A change failed, and so did taking back what had been done before it."""


class DriftError(PyinitError):
    """Rules of an earlier, different configuration are in force. `difference` is a readable list of lines."""

    exit_code = 3

    def __init__(self, message: str, *difference: str) -> None:
        super().__init__("\n".join((message, *difference)))
        self.difference = difference


class ValidationError(PyinitError):
    """The rules are in place, but a probe did not arrive where it should. The message has the table of probes."""

    exit_code = 126
