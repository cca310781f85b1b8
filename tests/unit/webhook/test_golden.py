"""A case a feature: golden/*.yaml has settings and a pod, and under `show` the parts of the result that it is about.

`UPDATE_GOLDEN=1 pytest tests/unit/webhook/test_golden.py` writes `show` anew. Every case is also run for what must hold
of any injection: the patch makes the injected pod, nothing is changed in place, and injecting again changes nothing.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from webhook.errors import InjectionError
from webhook.inject import Request, Result, inject
from webhook.profiles import overlay as laid_over
from webhook.settings import Settings

HERE = Path(__file__).parent
VALUES = yaml.safe_load((HERE / "golden_values.yaml").read_text())
CASES = sorted((HERE / "golden").glob("*.yaml"))


def settings_of(case: dict[str, Any]) -> Settings:
    given = case.get("settings", {})
    return Settings.load(laid_over(VALUES, given.get("values", {})), given.get("mesh"), given.get("config"))


def request_of(case: dict[str, Any], pod: dict[str, Any] | None = None) -> Request:
    return Request(pod if pod is not None else case["pod"], **{"namespace": "default", **case.get("request", {})})


def named(entries: list[dict[str, Any]], name: str) -> Any:
    return next((entry for entry in entries if entry.get("name") == name), None)


def shown(result: Result, what: str) -> Any:
    """A part of the result: label:NAME, annotation:NAME, env:NAME of the proxy, or a path of fields and names."""
    pod = result.pod
    kind, _, name = what.partition(":")
    if kind in ("label", "annotation"):
        return pod["metadata"].get(f"{kind}s", {}).get(name)
    if kind == "env":
        containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
        return (named(named(containers, "istio-proxy")["env"], name) or {}).get("value")
    value: Any = pod
    for step in what.split("/"):
        if value is None:
            return None
        if isinstance(value, list):
            value = [entry["name"] for entry in value] if step == "*" else named(value, step)
        else:
            value = value.get(step)
    return value


def outcome(case: dict[str, Any]) -> str | Result:
    try:
        result = inject(settings_of(case), request_of(case))
    except InjectionError as error:
        return f"refused: {error}"
    return result if result.decision.inject else f"{result.decision.reason}: {result.decision.message}"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_shows(path: Path) -> None:
    text = path.read_text()
    case = yaml.safe_load(text)
    result = outcome(case)
    found = {"outcome": result} if isinstance(result, str) else {what: shown(result, what) for what in case["show"]}
    if os.environ.get("UPDATE_GOLDEN"):
        dumped = yaml.safe_dump({"show": found}, sort_keys=False, width=110, allow_unicode=True)
        path.write_text(text[: text.index("\nshow:") + 1] + dumped)
        return
    assert found == case["show"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_holds(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    case["pod"]["spec"]["unknownField"] = {"kept": [1, None]}
    before = copy.deepcopy(case["pod"])
    result = outcome(case)
    assert case["pod"] == before
    if isinstance(result, str):
        return
    assert jsonpatch.apply_patch(before, json.loads(json.dumps(result.patch))) == result.pod
    assert result.pod["spec"]["unknownField"] == {"kept": [1, None]}
    again = inject(settings_of(case), request_of(case, json.loads(json.dumps(result.pod))))
    assert again.patch == []
