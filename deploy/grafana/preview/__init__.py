"""Pictures of the dashboards without a Grafana: every panel's queries are asked of a real Prometheus, and drawn."""
