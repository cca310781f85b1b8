"""Who a token is from: reviewed once, for our audience, bound to the pod that the node says."""

import asyncio
import contextlib
import json
import threading
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest

from common.errors import KubernetesError
from common.kube import Kubernetes
from mesh.serve import auth
from mesh.serve.auth import (
    DeniedError,
    Identity,
    ReviewFailedError,
    Tokens,
    UnauthenticatedError,
    bearer,
    is_loopback,
    matching,
)
from mesh.serve.server import Port
from mesh.world.proxy import proxy_of
from mesh.xds.types import CDS
from tests.unit.mesh.serve.streams import NODE_ID, HandMade, client, serving
from tests.unit.mesh.xds.envoy import state

GOOD = {
    "authenticated": True,
    "audiences": ["pymesh"],
    "user": {
        "username": "system:serviceaccount:shop:web",
        "extra": {"authentication.kubernetes.io/pod-name": ["web-1"]},
    },
}
IDENTITY = Identity("shop", "web", "web-1")


def token(exp=2000.0, more=""):
    payload = urlsafe_b64encode(json.dumps({"exp": exp, "more": more}).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


class ApiServer:
    """A TokenReview's other end. `status` is what it answers, or an error."""

    def __init__(self, status=GOOD):
        self.status, self.asked, self.now = status, [], 1000.0

    async def review(self, spec):
        self.asked.append(spec)
        await asyncio.sleep(0)
        if isinstance(self.status, Exception):
            raise self.status
        return {"spec": spec, "status": self.status}

    @property
    def tokens(self):
        return Tokens(self.review, lambda: self.now)


def test_a_token_is_reviewed_once_until_it_ends():
    async def ask():
        api = ApiServer()
        tokens = api.tokens
        assert await asyncio.gather(*(tokens.identify(token()) for _ in range(5))) == [IDENTITY] * 5
        assert api.asked == [{"token": token(), "audiences": ["pymesh"]}]
        api.now = 1999.0
        assert await tokens.identify(token()) == IDENTITY
        assert len(api.asked) == 1
        api.now = 2000.0
        await tokens.identify(token())
        assert len(api.asked) == 2

    asyncio.run(ask())


def test_a_token_that_was_refused_is_not_reviewed_again_at_once():
    async def ask():
        api = ApiServer({"authenticated": False, "error": "expired"})
        tokens = api.tokens
        for _ in range(3):
            with pytest.raises(UnauthenticatedError, match="expired"):
                await tokens.identify("odd")
        assert len(api.asked) == 1
        api.now += auth.REFUSED_SECONDS
        api.status = GOOD
        assert await tokens.identify("odd") == IDENTITY

    asyncio.run(ask())


def test_an_api_server_that_is_away_is_no_verdict():
    async def ask():
        api = ApiServer(KubernetesError("connection refused"))
        tokens = api.tokens
        with pytest.raises(ReviewFailedError, match="connection refused"):
            await tokens.identify(token())
        api.status = GOOD
        assert await tokens.identify(token()) == IDENTITY

    asyncio.run(ask())


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(auth, "MAX_CACHED", 10)

    async def ask():
        tokens = ApiServer().tokens
        for number in range(50):
            await tokens.identify(token(more=str(number)))
        assert len(tokens._known) <= 10

    asyncio.run(ask())


WRONG = {
    "not good": ({"authenticated": False}, "does not take the token"),
    "for another": (GOOD | {"audiences": ["vault"]}, "not for audience 'pymesh'"),
    "for anyone": ({key: value for key, value in GOOD.items() if key != "audiences"}, "not for audience"),
    "a person": (GOOD | {"user": {"username": "admin"}}, "'admin', which is no service account"),
    "bound to nothing": (GOOD | {"user": {"username": "system:serviceaccount:shop:web"}}, "bound to no pod"),
    "nothing": ({}, "does not take the token"),
}


@pytest.mark.parametrize(("status", "words"), WRONG.values(), ids=WRONG)
def test_tokens_that_are_not_taken(status, words):
    with pytest.raises(UnauthenticatedError, match=words):
        auth.identity_of(status, "pymesh")


@pytest.mark.parametrize("odd", ["", "a.b", "a.!!.c", "a.bnVsbA.c", "a.W10.c", token(exp="x")])
def test_a_token_that_does_not_say_when_it_ends_is_not_kept(odd):
    assert auth.expiry(odd) == 0.0


@pytest.mark.parametrize("header", [None, "Basic x", "Bearer ", b"\xff", "Bearer " + "x" * 20_000])
def test_no_bearer(header):
    with pytest.raises(UnauthenticatedError):
        bearer({} if header is None else {"authorization": header})


def proxy(**metadata):
    return proxy_of({"id": NODE_ID, "metadata": metadata})


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (Identity("bank", "web", "web-1"), "namespace 'shop', its token is that of namespace 'bank'"),
        (Identity("shop", "web", "web-2"), "pod 'web-1', its token is that of pod 'web-2'"),
        (Identity("shop", "root", "web-1"), "service account 'web'"),
    ],
)
def test_a_token_of_another(identity, words):
    with pytest.raises(DeniedError, match=words):
        matching(identity, proxy(SERVICE_ACCOUNT="web"))


def test_a_token_of_its_own():
    matching(IDENTITY, proxy(SERVICE_ACCOUNT="web"))
    matching(IDENTITY, proxy())


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("unix:/x", True), ("127.9.9.9:1", True),
     ("0.0.0.0:1", False), ("[::]:1", False), ("10.0.0.1:1", False), ("localhost.example:1", False), ("", False)],
)  # fmt: skip
def test_loopback(address, is_local):
    assert is_loopback(address) == is_local


STREAMS = {
    "none": (None, GOOD, "UNAUTHENTICATED", "authorization: Bearer TOKEN"),
    "bad": ("x", {}, "UNAUTHENTICATED", "does not take the token"),
    "away": ("x", KubernetesError("refused"), "UNAVAILABLE", "could not be reviewed: refused"),
    "another's": ("x", GOOD | {"user": GOOD["user"] | {"username": "system:serviceaccount:bank:web"}},
                  "PERMISSION_DENIED", "namespace 'shop', its token is that of namespace 'bank'"),
}  # fmt: skip


@pytest.mark.parametrize(("shown", "status", "code", "words"), STREAMS.values(), ids=STREAMS)
def test_how_a_stream_with_a_wrong_token_ends(shown, status, code, words):
    async def talk():
        mesh = HandMade(state(cds={"a": "1"}))
        metadata = (("authorization", f"Bearer {shown}"),) if shown else None
        # all addresses: not this machine's proxies alone
        async with serving(mesh, Port("0.0.0.0:0"), tokens=ApiServer(status).tokens) as served:
            served.bound[0] = served.bound[0].replace("0.0.0.0", "127.0.0.1")
            async with client(served, metadata=metadata) as odd:
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await odd.ask(CDS)
                ended, said = await odd.ends()
                assert (ended.name, words in said) == (code, True), said
            assert mesh.sessions == []

    asyncio.run(asyncio.wait_for(talk(), 30))


def test_a_review_is_posted_to_the_api_server(tmp_path):
    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append((self.path, body))
            answer = json.dumps(body | {"status": GOOD}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    config = tmp_path / "config"
    config.write_text(json.dumps({
        "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
    }))  # fmt: skip
    try:
        tokens = Tokens(auth.reviewed_by(Kubernetes(str(config))), lambda: 1000.0)
        assert asyncio.run(tokens.identify(token())) == IDENTITY
    finally:
        server.shutdown()
        server.server_close()
    spec = {"token": token(), "audiences": ["pymesh"]}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    assert posted == [("/apis/authentication.k8s.io/v1/tokenreviews", review)]
    with pytest.raises(ReviewFailedError, match="could not be reviewed"):
        asyncio.run(Tokens(auth.reviewed_by(Kubernetes(str(config))), lambda: 1000.0).identify(token()))


def test_a_stream_with_its_own_token():
    async def talk():
        mesh = HandMade(state(cds={"a": "1"}))
        async with serving(mesh, Port("0.0.0.0:0"), tokens=ApiServer().tokens) as served:
            served.bound[0] = served.bound[0].replace("0.0.0.0", "127.0.0.1")
            async with client(served, metadata=(("authorization", f"Bearer {token()}"),)) as envoy:
                await envoy.ask(CDS)
                assert await envoy.answer()
                assert mesh.sessions[0].proxy.service_account == "web"

    asyncio.run(asyncio.wait_for(talk(), 30))
