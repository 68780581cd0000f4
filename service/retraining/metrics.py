"""What is counted of retrainings. It must not know who counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.retraining.jobs import ENDED, Found

DURATION = (10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)


class RetrainingMetrics:
    """Of one machine: what the jobs that it drove came to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("model", *labels), registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ("model",), registry=registry)

        self.jobs = counter(
            "inference_retraining_jobs",
            "Triggers of a retraining, by what set them off and what has become of them so far.",
            *("trigger", "outcome"),
        )
        self.gates = counter(
            "inference_gate_decisions", "Challengers that the gate judged.", "passed"
        )
        self.promotions = counter(
            "inference_model_promotions",
            "Challengers that took the champion's place after a retraining.",
        )
        self.rollbacks = counter(
            "inference_model_rollbacks",
            "Promotions that were taken back because they hurt; by who had promoted.",
            "promoted_by",
        )
        self.active = gauge(
            "inference_retraining_active", "1 while a retraining of the model is under way here."
        )
        self.labels_wanted = gauge(
            "inference_labels_wanted", "Labels that a retraining lacks, while the traffic drifts."
        )
        self.duration = Histogram(
            "inference_retraining_duration_seconds",
            "From the trigger to the end of a retraining.",
            ("model",),
            buckets=DURATION,
            registry=registry,
        )

    def count(self, found: Found) -> None:
        """One event of a job."""
        job, event = found.job, found.event
        if event.kind != "state":
            return
        if job.state in ("queued", "suppressed") or job.ended:
            self.jobs.labels(job.model, job.trigger.kind, job.state).inc()
        self.active.labels(job.model).set(job.active)
        if job.state in ENDED:
            self.duration.labels(job.model).observe(job.changed_at - job.made_at)
        if "gate" in event.data and job.gate is not None:
            self.gates.labels(job.model, str(job.gate.passed).lower()).inc()
        if job.state == "watching":
            self.promotions.labels(job.model).inc()
        if job.state == "rolled_back":
            self.rollbacks.labels(job.model, "retraining").inc()
