"""All that Grafana shows, and no decision: dashboards and alerting files, through grafanalib."""
