"""No secret is shown, wherever it is."""

from mesh.encode.messages import decode
from mesh.encode.plans import encode
from mesh.encode.redact import redact

SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
DUMP = "envoy.admin.v3.SecretsConfigDump"


def test_a_private_key_is_hidden_and_the_certificate_is_not():
    body = {"name": "a", "tls_certificate": {"certificate_chain": {"inline_string": "public"},
                                             "private_key": {"inline_string": "S3CRET"}}}  # fmt: skip
    shown = redact(SECRET, body)
    assert shown["tls_certificate"]["certificate_chain"] == {"inline_string": "public"}
    assert shown["tls_certificate"]["private_key"] == {"inline_string": "[redacted]"}
    assert body["tls_certificate"]["private_key"] == {"inline_string": "S3CRET"}


def test_a_secret_inside_an_any_is_hidden():
    secret = {"@type": "type.googleapis.com/" + SECRET, "generic_secret": {"secret": {"inline_bytes": "UzNDUkVU"}}}
    body = {"dynamic_active_secrets": [{"name": "a", "secret": secret}]}
    shown = redact(DUMP, decode(DUMP, encode(DUMP, body)))
    assert "UzNDUkVU" not in str(shown)
    assert shown["dynamic_active_secrets"][0]["name"] == "a"


def test_maps_lists_and_what_is_no_text_are_hidden_too():
    tls = "envoy.extensions.transport_sockets.tls.v3."
    keys = {"keys": [{"inline_bytes": "c2VjcmV0"}, {"filename": "/key"}]}
    assert redact(tls + "TlsSessionTicketKeys", keys) == {
        "keys": [{"inline_bytes": "[redacted]"}, {"filename": "[redacted]"}]
    }
    assert redact(tls + "GenericSecret", {"secrets": {"a": {"inline_string": "b"}}}) == {
        "secrets": {"a": {"inline_string": "[redacted]"}}
    }
    assert redact(SECRET, {"name": "a", "session_ticket_keys": keys})["name"] == "a"


def test_a_type_that_envoy_does_not_have_is_shown_by_its_name_alone():
    any_of = {"name": "a", "typed_config": {"@type": "type.googleapis.com/odd.Thing", "password": "b"}}
    assert redact("envoy.config.core.v3.TypedExtensionConfig", any_of)["typed_config"] == {
        "@type": "type.googleapis.com/odd.Thing"
    }
