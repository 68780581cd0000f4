"""The dashboards of Grafana: `python -m deploy.grafana` writes them, `python -m deploy.grafana.preview` draws them."""
