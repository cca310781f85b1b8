"""How fast this project is, each figure as a ratio to something run beside it on the same machine.

    python -m tests.bench [--quick] [SECTION...]

    webhook    the webhook over HTTPS against a bare FastAPI handler, driven by wrk       webhook.py
    size       time against the size of the pod, and a plot of it                         growth.py, plot.py
    pipeline   the injection alone, stage by stage                                        pipeline.py
    init       pyinit against a bare interpreter, one save and one restore                interception.py
    mesh       the control plane with 100 proxies against a bare gRPC server                mesh/control.py
    growth     the same with more Services and more proxies, and a plot                     mesh/scale.py
    cluster    pod creations on a real Kubernetes, with and without the webhook           cluster.py

The pods are in pods.py, the servers in server.py and bare.py, wrk in load.py; report.py makes tables and bench.json.

What is compared is run in turns, round by round, and each round gives a ratio; the median of those is the figure. So a
neighbour who takes the machine's processors for a while makes single rounds worse and the result hardly.
"""
