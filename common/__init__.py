"""What more than one of the project's programs needs; a room for each thing, and none of them knows who uses it.

    errors        what ends a program with a line and an exit code, or is answered with it
    kube          the API server: get, list and watch, apply                                   (kubernetes)
    tls           certificates: an authority of one's own, serving pairs, what cannot be served (cryptography)
    authority     the authority in a Secret that all programs share                  (kube, tls)
    admission     AdmissionReviews v1, bounded                                                 (orjson)
    cabundle      whom API servers trust when they call a webhook
    logs          log lines, as JSON or text                                                   (orjson)
    metrics       a registry, and its HTTP port                                                (prometheus-client)
    yamlio        YAML in, bounded                                                             (PyYAML)
    jsonio        JSON in texts
    selectors     label selectors of the Kubernetes API
    envoy/        Envoy's messages as dicts, and the bootstrap of a sidecar

May import the standard library, `common` itself, and the library named beside each: whoever imports `jsonio` pays for
no other. It imports none of `init`, `webhook` and `mesh`. The latter two import it; `init` does not, for it takes the
standard library alone.
"""
