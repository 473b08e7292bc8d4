"""OpenTelemetry, where the environment asks for it: a span a night, one within it a stage, and the numbers of the metrics.

It is on when OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra `otel` is installed; the other OTEL_ variables count as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from scanner.nights.metrics import HELP, PREFIX, Sample
from scanner.progress import Progress

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Telemetry:
    """A `Progress` that passes everything on and makes spans of it."""

    def __init__(self, job: str, progress: Progress, *, spans: Any, meters: Any) -> None:
        """Begin the night's span.

        Args:
            job: name of the job.
            progress: told everything.
            spans: a TracerProvider of the SDK.
            meters: a MeterProvider of the SDK.
        """
        from opentelemetry import trace

        self._job, self._progress, self._spans, self._meters = job, progress, spans, meters
        self._tracer = spans.get_tracer("scanner")
        self._night = self._tracer.start_span("night", attributes={"scanner.job": job})
        self._within = trace.set_span_in_context(self._night)
        self._stage: Any = None
        self._items = 0

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""
        self._close()
        about = {
            "scanner.unit": unit,
            "scanner.done_before": done,
            **({} if total is None else {"scanner.total": total}),
        }
        self._stage, self._items = self._tracer.start_span(name, context=self._within, attributes=about), 0
        self._progress.stage(name, total=total, unit=unit, done=done)

    def advance(self, units: int) -> None:
        """See `Progress.advance`."""
        self._items += units
        self._progress.advance(units)

    def note(self, sentence: str) -> None:
        """See `Progress.note`."""
        self._night.add_event("note", {"text": sentence})
        self._progress.note(sentence)

    def end(self, exit_code: int, found: Iterable[Sample]) -> None:
        """End the night's span, and send everything."""
        from opentelemetry.trace import Status, StatusCode

        self._close()
        self._night.set_attribute("scanner.exit_code", exit_code)
        self._night.set_status(Status(StatusCode.OK if exit_code in (0, 1) else StatusCode.ERROR))
        self._night.end()
        meter = self._meters.get_meter("scanner")
        gauges: dict[str, Any] = {}
        for name, labels, value in found:
            gauge = gauges.get(name)
            if gauge is None:
                gauge = gauges[name] = meter.create_gauge(f"{PREFIX}{name}", description=HELP[name])
            gauge.set(value, {"job": self._job, **labels})
        self._spans.shutdown()
        self._meters.shutdown()

    def _close(self) -> None:
        if self._stage is not None:
            self._stage.set_attribute("scanner.items", self._items)
            self._stage.end()
        self._stage = None


def telemetry(job: str, progress: Progress) -> Telemetry | None:
    """Return what sends where the environment says, or None; a note tells when that cannot be."""
    if not os.environ.get(ENDPOINT):
        return None
    try:
        spans, meters = _providers()
    except ImportError:
        progress.note(f"{ENDPOINT} is set, but nothing is sent: pip install 'identity-leak-scanner[otel]'")
        return None
    return Telemetry(job, progress, spans=spans, meters=meters)


def _providers() -> tuple[Any, Any]:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    who = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "scanner"})
    spans = TracerProvider(resource=who, shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    return spans, MeterProvider([reader], resource=who, shutdown_on_exit=False)
