"""Dicts in the words of Envoy's API ──▶ bytes, each once for all proxies, with a hash of them as version."""
