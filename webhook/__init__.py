"""pyinject: a mutating admission webhook that gives pods a sidecar, and the same from the command line.

The way of a pod, a pure function each:

    AdmissionReview ──serving.review──▶ pod, namespace ──decide──▶ Decision (inject or not, and the reason)
        ──profile + settings + annotations──▶ overlay ──merge──▶ injected pod ──patch──▶ JSON Patch (RFC 6902)

The server (`serve`) and the command line (`kube-inject` and its kin) are two callers of this one pipeline. Its floors,
each of which imports only what is below it:

    commands               the command line
    serving | documents    the server | files of users, injected and written back
    pod                    the way of one pod: all of the above drawing, pure
    settings               what the injector works with, read once
    template               the language of the templates
    merging                the ways of laying one thing over another
    errors

All of them may import `common`. Of `init` they import the configuration alone: the command line that is written into a
pod and the one that pyinit parses are one definition.
"""

from init import __version__ as __version__
