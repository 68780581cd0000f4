"""What the dashboards show when something happens: a service of one's own, a Prometheus, a model that is slowed down, and the loop."""
