"""The way of one pod: pure functions from a pod and the settings to the injected pod, each step a module.

    decide ──▶ inject: overlay ──▶ users ──▶ prometheus ──▶ probes ──▶ finish ──▶ patch; warn        and back: uninject

    earlier       what an earlier injection left there       authored   what the author wrote of injected containers

    annotations   what pods may ask for       shape     what is read of a pod has the type the API gives it
    context       what templates see          podtree   reading and rewriting a pod that is a plain dict
    workload      what a pod belongs to

No step changes the pod it is given, and none reads or writes anything but its arguments. May import `settings`,
`template`, `errors` and `common`.
"""
