"""AdmissionReviews in and out of bytes."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import orjson
import pytest

from common.admission import encode_refused
from common.errors import ReviewError
from webhook.serving import review


def reviewed(**request: Any) -> bytes:
    pod = {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": []}}
    return orjson.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "u-1", "namespace": "shop", "object": pod} | request,
        }
    )


def test_a_review_of_a_pod_is_its_uid_its_namespace_and_the_pod_as_it_came() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"futureField": [1, {"a": None}]}, "unknown": True}
    assert review.decode(reviewed(object=pod)) == review.Review("u-1", pod, "shop")


@pytest.mark.parametrize(
    ("metadata", "namespace", "expected"),
    [({"namespace": "own"}, "asked", "asked"), ({"namespace": "own"}, "", "own"), ({}, "", "default")],
)
def test_the_namespace_is_the_request_s_for_pods_of_controllers_name_none(
    metadata: dict[str, str], namespace: str, expected: str
) -> None:
    body = reviewed(namespace=namespace, object={"metadata": metadata, "spec": {}})
    assert review.decode(body).namespace == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b'{"kind":', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "None None is not served"),
        (reviewed().replace(b"k8s.io/v1", b"k8s.io/v1beta1"), "admission.k8s.io/v1beta1 AdmissionReview is not served"),
        (reviewed().replace(b"AdmissionReview", b"Pod"), "admission.k8s.io/v1 Pod is not served"),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', "no request"),
        (reviewed(uid=""), "uid is missing"),
        (reviewed(uid=5), "uid is missing"),
    ],
)
def test_what_is_no_review_can_only_be_answered_by_http(body: bytes, message: str) -> None:
    with pytest.raises(ReviewError, match=message) as caught:
        review.decode(body)
    assert caught.value.uid == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"object": None}, "there is none"),
        ({"object": []}, "there is none"),
        ({"object": {"kind": "Deployment"}}, "there is a Deployment"),
        ({"object": {"metadata": {}}}, "no spec"),
        ({"object": {"metadata": [], "spec": {}}}, "metadata that is no object"),
        ({"object": {"spec": []}}, "no spec"),
        ({"namespace": 5}, "not a string"),
    ],
)
def test_a_review_without_a_pod_can_be_answered_as_a_review(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ReviewError, match=message) as caught:
        review.decode(reviewed(**changed))
    assert caught.value.uid == "u-1"


def test_an_allowed_pod_is_answered_with_its_patch_and_its_warnings() -> None:
    patch = [{"op": "add", "path": "/metadata/labels", "value": {"a": "ü"}}]
    answer = orjson.loads(review.encode_allowed("u-1", "label", "injected: so", patch, ("mind this",)))
    assert answer["apiVersion"] == "admission.k8s.io/v1"
    assert answer["kind"] == "AdmissionReview"
    response = answer["response"]
    assert orjson.loads(b64decode(response.pop("patch"))) == patch
    assert response == {
        "uid": "u-1",
        "allowed": True,
        "status": {"message": "injected: so"},
        "auditAnnotations": {"reason": "label"},
        "patchType": "JSONPatch",
        "warnings": ["mind this"],
    }


def test_without_a_patch_there_is_no_patch_type_which_an_api_server_would_refuse() -> None:
    response = orjson.loads(review.encode_allowed("u-1", "policy", "not injected"))["response"]
    assert set(response) == {"uid", "allowed", "status", "auditAnnotations"}


def test_a_refused_pod_is_answered_with_the_message_for_who_creates_it() -> None:
    assert orjson.loads(encode_refused("u-1", 400, "no"))["response"] == {
        "uid": "u-1",
        "allowed": False,
        "status": {"code": 400, "message": "no"},
    }
