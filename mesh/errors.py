"""All that can go wrong in pymesh, and the exit code that each kind ends the command line with.

PysidecarError                  1   of common.errors, as are all that are marked *
├── UsageError *                2   a flag that does not fit another, or a file that cannot be read or written
├── SettingsError *             3   a mesh configuration that cannot be taken
├── InputError *                4   a document that cannot be read
│   └── NotFoundError           4   … or an object that is not in it: a pod, a proxy, a Service
├── FaultsError                 5   objects that are faulty: analyze, describe
├── CertificateError *          6   a certificate or key that cannot be served with
├── NotReadyError *             7   the control plane, or a proxy, does not answer
└── KubernetesError *           8   the API server refuses a call, or there is none
"""

from __future__ import annotations

from common.errors import InputError, PysidecarError


class NotFoundError(InputError):
    """What was asked about is not there; says where it was looked for."""


class FaultsError(PysidecarError):
    """Objects have faults; they were told already, this only counts them."""

    exit_code = 5
