"""What can go wrong in any of the programs, and the exit code that each kind ends a command line with.

PysidecarError                  1
├── UsageError                  2   a flag that does not fit another, or a file that cannot be read or written
├── SettingsError               3   settings that cannot be taken
├── InputError                  4   a document that cannot be read
│   └── ReviewError             4   a request that is no AdmissionReview v1 of what is asked about
├── CertificateError            6   a certificate or key that cannot be served with
├── NotReadyError               7   the server does not answer a call to itself
└── KubernetesError             8   the API server refuses a call, or there is none

A program adds its own kinds below these (`webhook.errors`).
"""

from __future__ import annotations


class PysidecarError(Exception):
    """The root: one message for a person, which names the setting or field, its value, and what is allowed.

    It is one line, whatever is in the names and values of users that it quotes.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        one_line = message if message.isprintable() else "".join(map(_printable, message))
        super().__init__(one_line)


class UsageError(PysidecarError):
    """A flag that does not fit, or a file that cannot be read or written."""

    exit_code = 2


class SettingsError(PysidecarError):
    """Settings that cannot be taken; those in force before stay so."""

    exit_code = 3


class InputError(PysidecarError):
    """A document that cannot be read."""

    exit_code = 4


class ReviewError(InputError):
    """What is no AdmissionReview v1 of such an object. `uid` is the request's where it could be read, else empty."""

    def __init__(self, message: str, uid: str = "") -> None:
        super().__init__(message)
        self.uid = uid


class CertificateError(PysidecarError):
    """A certificate or key that cannot be served with."""

    exit_code = 6


class NotReadyError(PysidecarError):
    """The server does not answer a call to itself."""

    exit_code = 7


class KubernetesError(PysidecarError):
    """A call that the API server refuses (`status` is its HTTP status) or does not answer (0).

    `retry_after` is in how many seconds it wants to be asked again (RFC 9110, 10.2.3), None where it does not say.
    """

    exit_code = 8

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


def _printable(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def shortened(value: object, most: int = 200) -> str:
    """A value as a message shows it, in `most` characters or fewer."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
