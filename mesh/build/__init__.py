"""What Envoy is told, as dicts in the words of its API: pure functions of the world and a class of proxies."""
