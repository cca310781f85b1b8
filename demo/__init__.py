"""`make demo`: the main job without a Kubernetes, told step by step.

    story ──▶ what is claimed and shown, as values; printed by rich or as JSON
    webhook ──▶ pyinject, served over HTTPS, and asked as an API server would ask it
    network ──▶ namespaces on one wire: client, pod, server
    enter, pod ──▶ what the injected pod says, run in the pod's namespace with its uids
    app, request ──▶ the sample app and its clients

Nothing outside the namespaces is touched, but for a port on 127.0.0.1 and a folder in the temporary directory.
"""
