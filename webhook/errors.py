"""All that can go wrong in pyinject, and the exit code that each kind ends the command line with.

PysidecarError                  1   of common.errors, as are all that are marked *
├── UsageError *                2   a flag that does not fit another, or a file that cannot be read or written
├── SettingsError *             3   values, mesh or injection configuration that cannot be taken
│   └── TemplateError           3   a template that does not compile
├── InputError *                4   a document that is no YAML, or no workload where one is needed
│   └── ReviewError *           4   a request that is no AdmissionReview v1 of a pod
├── InjectionError              5   a pod that is refused
│   ├── AnnotationError         5   … for the value of an annotation or a label
│   ├── PodError                5   … for a field that has not the type the Kubernetes API gives it
│   └── RenderError             5   … for a template that fails on it
├── CertificateError *          6   a certificate or key that cannot be served with
├── NotReadyError *             7   the server does not answer a call to itself
└── KubernetesError *           8   the API server refuses a call, or there is none
"""

from __future__ import annotations

from common.errors import PysidecarError, SettingsError, shortened


class TemplateError(SettingsError):
    """A template that does not compile; says which, and in which line."""

    def __init__(self, template: str, line: int, message: str) -> None:
        super().__init__(f"template {template}, line {line}: {message}")


class InjectionError(PysidecarError):
    """A pod that is refused; the message goes to who creates it."""

    exit_code = 5


class AnnotationError(InjectionError):
    """The value of an annotation (or, with `kind`, of a label) is not among those `allowed` (a description)."""

    def __init__(self, name: str, value: object, allowed: str, kind: str = "annotation") -> None:
        super().__init__(f"{kind} {name}: {shortened(value)} is not {allowed}")
        self.name = name


class PodError(InjectionError):
    """A field of the pod has another type than the Kubernetes API gives it; `path` is as kubectl explain writes it."""

    def __init__(self, path: str, value: object, expected: str) -> None:
        super().__init__(f"{path}: {shortened(value)} is not {expected}")
        self.path = path


class RenderError(InjectionError):
    """A template failed on this pod."""

    def __init__(self, template: str, line: int, message: str) -> None:
        super().__init__(f"template {template}, line {line}: {message}")
