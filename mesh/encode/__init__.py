"""Dicts in the words of Envoy's API ──▶ bytes, each once for all proxies, with a hash of them as version.

descriptors  Envoy's messages, from one file
plans        dict ──▶ message, bytes
check        what breaks the rules of Envoy's API, by `rules`
messages     bytes ──▶ dict; a table of routes from virtual hosts
snapshot     each resource of each proxy as bytes
seats        what a proxy's state depends on, and the state
redact       the dict without its secrets
resource     bytes with name and version; parts, snapshots and states of them
"""

from mesh.encode.check import Violation as Violation
from mesh.encode.check import check as check
from mesh.encode.messages import decode as decode
from mesh.encode.messages import route_configuration as route_configuration
from mesh.encode.plans import NotEncodableError as NotEncodableError
from mesh.encode.plans import encode as encode
