"""pyinject: a mutating admission webhook that gives pods a sidecar, and the same from the command line.

The way of a pod, a pure function each:

    AdmissionReview ──review.decode──▶ pod, namespace ──decide──▶ Decision (inject or not, and the reason)
        ──profile + settings + annotations──▶ overlay ──merge──▶ injected pod ──patch──▶ JSON Patch (RFC 6902)

The server (`serve`) and the command line (`kube-inject` and its kin) are two callers of this one pipeline.
Of `init` it imports the configuration alone: the command line it writes into a pod and the one that pyinit parses are
one definition.
"""

from init import __version__ as __version__
