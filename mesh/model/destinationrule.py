"""DestinationRule (networking.istio.io): the versions of a host, and how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model import fields as f
from mesh.model.common import MatchLabels, export_to
from mesh.model.meta import Meta
from mesh.model.policy import TrafficPolicy
from mesh.model.reading import Reading
from mesh.model.shape import sub, subs, text, text_map, texts


@dataclass(frozen=True, slots=True)
class Subset:
    """Those endpoints whose labels have all of these (Subset)."""

    name: str = text(pattern=r"[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?", needed=True, empty=False)
    labels: Mapping[str, str] = text_map()
    traffic_policy: TrafficPolicy | None = sub(TrafficPolicy)


_HOST = f.one_of_checks((f.wildcard_fqdn, f.address), "a Service's name, a DNS name, or one that begins with *.")


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """How a host is called, and its subsets (DestinationRule). `workload_selector`: whom it holds for, else all."""

    meta: Meta
    host: str = text(_HOST, empty=False, needed=True)
    traffic_policy: TrafficPolicy | None = sub(TrafficPolicy)
    subsets: tuple[Subset, ...] = subs(Subset)
    export_to: tuple[str, ...] = texts()
    workload_selector: MatchLabels | None = sub(MatchLabels)

    def subset(self, name: str) -> Subset | None:
        """The subset of this name."""
        return next((one for one in self.subsets if one.name == name), None)

    def check(self, r: Reading) -> None:
        """A subset once; a selector holds in its namespace alone (Istio's ValidateDestinationRule)."""
        seen: dict[str, int] = {}
        for index, one in enumerate(self.subsets):
            if one.name in seen:
                r.error("conflict", f'"{one.name}" is there twice', "subsets", index, "name")
            seen[one.name] = index
            if not one.labels and not one.traffic_policy:
                r.warn("no-effect", "without labels it is the whole host", "subsets", index)
        export_to(self.export_to, r, "exportTo")
