"""VirtualService, HTTPRoute, GRPCRoute and Ingress ──▶ one `Route`, with no word of Envoy's."""
