"""What Prometheus reads of a pod: Envoy's metrics, with them the app's, at one path.

    /stats/prometheus ──▶ the admin API ──▶ Lua: Istio's metrics under Istio's names; behind them what the app answers

With a query of its own, as `?filter=.*`, the admin API is asked that and not for what is shown by default.

Envoy's exporter writes `envoy_` before every name, istio_requests_total's too, and knows nothing of the app: in Istio
its own filters and its agent do that. The app is asked only for what its prometheus.io annotations say.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from common.envoy.parts import EXTENSIONS, Message, cluster, endpoint, extension, inbound_bind

METRICS, APP = "metrics", "app-metrics"
PATH = "/stats/prometheus"
UP = "pysidecar_app_metrics_up"
"""1 where the app answered, 0 where it did not; absent where there is nothing to ask."""
# What is read where nobody asks for more, about as in Istio: an Envoy counts a hundred things of each cluster and
# listener, and puts a Service's name into the metric's own.
_OF_ENVOY = "cluster_manager|listener_manager|server|control_plane|cluster\\.xds-grpc"
SHOWN = rf"^(istio|{_OF_ENVOY})\.|downstream_cx_active$"
# A page is put together in memory: of an Envoy with 1,000 clusters all there is has 30 MB.
MAX_BYTES = 128 << 20
APP_SECONDS = 5
# Pages that are written at the same time; more of them wait.
AT_ONCE = 4

_NAMES = """\
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace("accept", "text/plain")
  if not headers:get(":path"):find("?", 1, true) then
    headers:replace(":path", "@DEFAULT@")
  end
end
function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "200" then return end
  local body = handle:body()
  local page = body:getBytes(0, body:length()):gsub("envoy_istio_", "istio_")
%s  handle:headers():replace("content-type", "text/plain; version=0.0.4; charset=utf-8")
  handle:body():setBytes(page)
  page, body = nil, nil
  collectgarbage()
end
"""
_APP = """\
  local asked = {[":method"] = "GET", [":path"] = %s, [":authority"] = "app:%d"}
  asked["accept"] = "text/plain;version=0.0.4"
  local headers, own = handle:httpCall("%s", asked, "", %d)
  local up = own and headers[":status"] == "200" and not (headers["content-type"] or ""):find("html")
  page = page .. "# TYPE %s gauge\\n%s " .. (up and 1 or 0) .. "\\n"
  if up then page = page .. own:gsub("# EOF%%s*$", "") .. "\\n" end
"""


def app_of(annotations: Mapping[str, str]) -> tuple[int, str] | None:
    """The port and path at which an app's own metrics are, by `scrape`, `port` and `path` (what its annotations
    prometheus.io/… say; empty: nothing); None where they are not to be read, or say no port that can be."""
    if not any(annotations.values()) or annotations.get("scrape", "").lower() in ("false", "0", "f"):
        return None
    port = annotations.get("port") or "80"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    return int(port), annotations.get("path") or "/metrics"


def route(app: tuple[int, str] | None = None) -> Message:
    """The route of the page; `app` is where the app's own metrics are, if they belong to it."""
    names = _NAMES.replace("@DEFAULT@", f"{PATH}?usedonly&filter={quote(SHOWN, safe='')}".replace("%", "%%"))
    source = names % ""
    if app is not None:
        port, path = app
        source = names % (_APP % (_quoted("/" + path.lstrip("/")), port, APP, APP_SECONDS * 1000, UP, UP))
    per_route = {"@type": EXTENSIONS + "filters.http.lua.v3.LuaPerRoute", "source_code": {"inline_string": source}}
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    return {
        "match": {"path": PATH, "headers": [get]},
        "route": {"cluster": METRICS, "timeout": "15s", "max_stream_duration": {"max_stream_duration": "30s"}},
        "typed_per_filter_config": {"envoy.filters.http.lua": per_route},
    }


def http_filter() -> Message:
    """The filter that the route needs; it does nothing elsewhere."""
    return extension("envoy.filters.http.lua", "filters.http.lua.v3.Lua")


def clusters(admin_port: int, ip: str, app: tuple[int, str] | None) -> list[Message]:
    """Where the page comes from; `ip` is the pod's."""
    limits = {"max_connections": AT_ONCE, "max_pending_requests": 64, "max_requests": AT_ONCE}
    admin = cluster(
        METRICS,
        "STATIC",
        load_assignment=endpoint(METRICS, "127.0.0.1", admin_port),
        circuit_breakers={"thresholds": [limits]},
        per_connection_buffer_limit_bytes=MAX_BYTES,
    )
    if app is None:
        return [admin]
    assignment = endpoint(APP, ip, app[0])
    return [admin, cluster(APP, "STATIC", load_assignment=assignment, upstream_bind_config=inbound_bind())]


def _quoted(text: str) -> str:
    """A string of Lua, of letters, digits and numbers of bytes alone: nothing in it is read as anything else."""
    return (
        '"' + "".join(chr(one) if chr(one).isalnum() and one < 128 else f"\\{one:03d}" for one in text.encode()) + '"'
    )
