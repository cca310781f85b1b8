"""What the webhook is compared with: a FastAPI handler that reads and parses the body, and answers a constant."""

import os
from collections.abc import Awaitable, Callable

import orjson
from fastapi import FastAPI, Request, Response

# The routes and the sizes of their answers in bytes: ``plain=11032 skipped=250``.
ANSWERS_VARIABLE = "BENCH_ANSWERS"

app = FastAPI(openapi_url=None)


def _handler(answer: bytes) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        orjson.loads(await request.body())
        return Response(answer, media_type="application/json")

    return handle


for route in os.environ.get(ANSWERS_VARIABLE, "").split():
    name, _, size = route.partition("=")
    app.post(f"/{name}")(_handler(b"x" * int(size)))
