"""All of Envoy's API v3 is there, in a pool of its own. Whether it is fresh, scripts/descriptors/make --check tells."""

import pytest

from mesh.encode.descriptors import descriptor, field_option, pool


def test_it_has_what_the_builders_name():
    fields = descriptor("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")
    assert "http_filters" in fields.fields_by_name


def test_version_2_is_not_there():
    with pytest.raises(KeyError):
        pool().FindMessageTypeByName("envoy.api.v2.Cluster")


def test_the_options_of_envoys_own_are_read():
    name = descriptor("envoy.config.cluster.v3.Cluster").fields_by_name["name"]
    assert field_option(name, "validate.rules").string.min_len == 1
    assert field_option(name, "udpa.annotations.sensitive") is None
