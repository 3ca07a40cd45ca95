"""What a host, its tenants and its containers use, for Prometheus: a small process of its own, a client of the supervisor."""
