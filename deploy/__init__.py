"""What an operator needs; the programs among it are in grafana/."""
