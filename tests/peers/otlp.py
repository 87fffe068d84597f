"""A collector for OTLP over HTTP, which decodes what it is sent with OpenTelemetry's own classes.

With the files of a certificate and of its key as arguments it speaks TLS. It prints the address on which it listens, then a
line of JSON for each span and log record. A request that is not OTLP in protobuf is answered 400 and printed as a fault.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

printing = Lock()


def tell(line):
    with printing:
        print(json.dumps(line), flush=True)


def plain(value):
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "bool_value", "int_value", "double_value") else str(value)


def attributes(pairs):
    return {pair.key: plain(pair.value) for pair in pairs}


def spans(request, headers):
    for of_resource in request.resource_spans:
        resource = attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield {
                    "span": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "status": Status.StatusCode.Name(span.status.code),
                    "fault": span.status.message,
                    "attributes": attributes(span.attributes),
                    "resource": resource,
                    "headers": headers,
                }


def logs(request, headers):
    for of_resource in request.resource_logs:
        resource = attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                yield {
                    "log": plain(record.body),
                    "severity": record.severity_text,
                    "target": of_scope.scope.name,
                    "attributes": attributes(record.attributes),
                    "resource": resource,
                    "headers": headers,
                }


ROUTES = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse, spans),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse, logs),
}


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            asked, answer, lines = ROUTES[self.path]
            if headers.get("content-type") != "application/x-protobuf":
                raise ValueError(f"content type {headers.get('content-type')}")
            for line in lines(asked.FromString(body), headers):
                tell(line)
            status, content = 200, answer().SerializeToString()
        except Exception as error:
            tell({"fault": f"{self.path}: {error!r}"})
            status, content = 400, b""
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
