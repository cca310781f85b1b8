"""As whom the injected containers run, where the pod, or OpenShift, says it of the proxy."""

from __future__ import annotations

from collections.abc import Mapping

from webhook.pod import annotations as names
from webhook.pod import podtree
from webhook.pod.context import Context
from webhook.pod.podtree import Container, Pod
from webhook.settings.containers import INIT, PROXY, VALIDATION


def with_users_of(merged: Pod, authored: Pod, context: Context) -> Pod:
    """The pod whose init container goes by the user that the author gave to istio-proxy.

    Rules for another user than the proxy's would send its own traffic back to it, for ever.
    """
    own = podtree.find_in_pod(authored, PROXY)
    identity = (own or {}).get("securityContext") or {}
    user, group = identity.get("runAsUser"), identity.get("runAsGroup")
    init = _init_container(merged)
    if (user is None and group is None) or init is None:
        return merged
    mode = podtree.annotations_of(merged).get(names.INTERCEPTION_MODE)
    transparent = "TPROXY" in (context.proxy.get("interceptionMode"), mode)
    if transparent and user is not None:
        # binding the client's address takes root
        proxy = podtree.find_in_pod(merged, PROXY)
        if proxy is not None:
            merged = podtree.with_container(merged, proxy, _with_identity(proxy, {"runAsUser": 0}))
    new = init
    if not transparent and init.get("name") == VALIDATION:
        ids = {"runAsUser": user, "runAsGroup": group}
        new = _with_identity(new, {field: value for field, value in ids.items() if value is not None})
    args = new.get("args") or []
    if user and "-u" in args[:-1]:
        place = args.index("-u") + 1
        new = {**new, "args": [*args[:place], str(user), *args[place + 1 :]]}
    return podtree.with_container(merged, init, new)


def without_app_user(pod: Pod) -> Pod:
    """The pod whose istio-proxy has no user of its own where it is the app's.

    OpenShift sets the same user on every container: taken for the author's wish, the proxy's traffic would pass for
    the app's.
    """
    proxy = podtree.find_in_pod(pod, PROXY)
    if proxy is None or not proxy.get("securityContext"):
        return pod
    app_user = 0
    for container in podtree.containers_of(pod):
        user = (container.get("securityContext") or {}).get("runAsUser")
        if user is not None and container.get("name") not in (PROXY, INIT, VALIDATION):
            app_user = user
    if (proxy["securityContext"].get("runAsUser") or 0) != app_user:
        return pod
    rest = {key: value for key, value in proxy["securityContext"].items() if key not in ("runAsUser", "runAsGroup")}
    return podtree.with_container(pod, proxy, {**proxy, "securityContext": rest})


def _init_container(pod: Pod) -> Container | None:
    inits = podtree.containers_of(pod, "initContainers")
    return podtree.find(inits, INIT) or podtree.find(inits, VALIDATION)


def _with_identity(container: Container, identity: Mapping[str, int]) -> Container:
    return {**container, "securityContext": {**(container.get("securityContext") or {}), **identity}}
