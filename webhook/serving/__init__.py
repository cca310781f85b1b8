"""The server, and all input and output that it needs.

    files, API server ──sources──▶ serve: the supervisor ──handover──▶ worker: a process, which runs
        server: HTTPS, a request ──review──▶ pod ──webhook.pod.inject──▶ answer
    metrics   what both count

A worker imports neither `sources` nor `common.kube`: the library behind is as large as itself. May import `pod`,
`settings`, `template`, `errors` and `common`; `documents` are for the command line alone.
"""
