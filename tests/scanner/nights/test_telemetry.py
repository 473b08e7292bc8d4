"""A night as OpenTelemetry sees it."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
from small_job import night
from test_start import write_job

from scanner.cli import main
from scanner.nights.metrics import samples
from scanner.nights.telemetry import ENDPOINT, Telemetry, telemetry
from scanner.progress import Silent


def test_a_night_is_a_span_with_a_span_for_each_stage_and_the_numbers_of_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="needs the otel extra")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    class Keeps(InMemoryMetricReader):
        def shutdown(self, *_given, **_named) -> None:
            self.kept = self.get_metrics_data()

    write_job(tmp_path)
    exporter, reader, provider = InMemorySpanExporter(), Keeps(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traced = Telemetry("drawn", Silent(), spans=provider, meters=MeterProvider([reader], shutdown_on_exit=False))
    result = night(tmp_path, progress=traced)
    spans = {}
    provider.shutdown = lambda: spans.update({span.name: span for span in exporter.get_finished_spans()})  # type: ignore[method-assign]
    traced.end(0, samples(result.account, None))

    root = spans.pop("night")
    assert dict(root.attributes) == {"scanner.job": "drawn", "scanner.exit_code": 0}
    assert {span.parent.span_id for span in spans.values()} == {root.context.span_id}
    assert spans["faces of people"].attributes["scanner.items"] == 10
    assert spans["faces of gen"].attributes["scanner.items"] == 3
    (metrics,) = [scope.metrics for resource in reader.kept.resource_metrics for scope in resource.scope_metrics]
    values = {(one.name, point.attributes.get("set")): point.value for one in metrics for point in one.data.data_points}
    assert values["scanner_night_comparisons", "queries/gen"] == 30
    assert values["scanner_night_number", None] == 1


def test_what_the_environment_names_gets_spans_and_metrics(tmp_path: Path, monkeypatch, capfd) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the otel extra")
    got: dict[str, bytes] = {}

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{server.server_port}")
        assert main(["run", str(write_job(tmp_path))]) == 0
        server.shutdown()

    assert set(got) == {"/v1/traces", "/v1/metrics"}
    assert b"faces of gen" in got["/v1/traces"]
    assert b"scanner_night_comparisons" in got["/v1/metrics"]
    assert all(word not in data for data in got.values() for word in (b"picture-", b"person-"))
    capfd.readouterr()


def test_without_the_packages_a_note_says_what_to_install(monkeypatch) -> None:
    notes = []

    class Keeps(Silent):
        def note(self, sentence: str) -> None:
            notes.append(sentence)

    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")

    assert telemetry("drawn", Keeps()) is None
    assert notes == [f"{ENDPOINT} is set, but nothing is sent: pip install 'identity-leak-scanner[otel]'"]
    monkeypatch.delenv(ENDPOINT)
    assert telemetry("drawn", Keeps()) is None
    assert len(notes) == 1
