"""Random operations by several clients, while clients, supervisor, monitor and containers are killed at random."""
