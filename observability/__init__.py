"""Facts become metrics, metrics become SLIs, SLIs become rules; traces. OpenTelemetry SDK here."""
