"""Envoy's messages as dicts, and of them the bootstrap of a plain Envoy beside an app.

    bootstrap.bootstrap(Sidecar) ──▶ the bootstrap as a dict ──▶ `envoy --config-yaml` in the container's args
        traffic    what the packets of the app pass: virtualOutbound (15001) and virtualInbound (15006)
        discovery  with a control plane: where to ask for traffic's place, and the fallback until it answers
        local      what kubelet and Prometheus ask the sidecar itself: 15020, 15021, 15090, the admin API
        probes     the app's own probes, answered on 15020 by asking the app
        parts      the few Envoy messages that all of them are put together from

Pure functions from values to dicts, whose field names are those of Envoy's API v3 (envoyproxy.io, "v3 API reference").
They import the standard library alone.

A bootstrap is made at injection, when the whole pod is known. What only the pod can know when it runs is left to
kubelet: `$(INSTANCE_IP)` in a container's args is replaced by the variable INSTANCE_IP of that container. All text of
the user's therefore passes `parts.literal`.
"""

from common.envoy.bootstrap import bootstrap as bootstrap
from common.envoy.sidecar import AccessLog as AccessLog
from common.envoy.sidecar import Discovery as Discovery
from common.envoy.sidecar import Sidecar as Sidecar
