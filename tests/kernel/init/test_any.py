"""Any configuration: the kernel takes it and shows it as asked, twice is once, and clean-up gives the state before."""

import os

from hypothesis import HealthCheck, given, settings

from init.config import Config
from init.kinds import ALL
from tests.kernel.init.namespace import namespace
from tests.kernel.init.test_backends import everything
from tests.unit.init.test_config import CONFIGS


def with_ids_alone(config: Config) -> Config:
    """Without names of users and groups, which do not exist here."""
    names = ("proxy_uids", "proxy_gids", "owner_groups", "owner_groups_exclude")
    ids = {n: tuple(i for i in getattr(config, n) if isinstance(i, int)) for n in names if getattr(config, n) != ALL}
    return config.replace(**ids, reconcile=False)


# A few each time; continuous integration tries more.
EXAMPLES = 10 if os.environ.get("CI") else 2


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(config=CONFIGS.map(with_ids_alone))
def test_any_configuration(backend: str, config: Config) -> None:
    with namespace("10.244.0.5/24", "2001:db8:1::5/64") as pod:
        before = everything(pod)
        pod.must(backend, *config.to_argv())
        there = everything(pod)
        assert "all is there already" in pod.must(backend, *config.to_argv())
        assert everything(pod) == there
        pod.must(backend, *config.to_argv(), "--cleanup-only")
        assert everything(pod) == before
