"""What an operator sees: metrics with histograms that add up, alert rules and a dashboard that speak of metrics that exist, traces
with request ids that can be followed from a client's log."""
import json
import re
import subprocess

import pytest
from conftest import ROOT, wait_until
from promtool import promtool
from test_operation import parse_prometheus

OPS = ROOT / "docs" / "ops"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def scrape(server):
    return server.get("/metrics").body.decode()


def histogram(values, name, labels=""):
    """The cumulative counts in the order of their bounds, the sum, the count."""
    buckets = []
    for (sample, text), value in values.items():
        match = re.fullmatch(r'(.*?),?le="([^"]+)"', text or "")
        if sample == name + "_bucket" and match and match[1] == labels:
            buckets.append((float(match[2]), value))
    return buckets, values[(name + "_sum", labels or None)], values[(name + "_count", labels or None)]


def test_promtool_takes_them(server):
    """Prometheus's own checker has nothing to say, before and after use."""
    for _ in range(2):
        done = promtool("check", "metrics", text=scrape(server).encode())
        assert done.returncode == 0 and done.stdout + done.stderr == b"", done
        server.get("/nowhere")
        server.get("/experiments", token="wrong")
        server.send_events([{"user_id": "u", "event_type": "t"}])


def test_histograms_add_up(farm):
    """Each request is in one bucket of one series; a flush for each block; a block's size is the number of its records."""
    server = farm.make()
    server.make_experiment()
    before = parse_prometheus(scrape(server))[1]
    for size in (1, 7, 300):
        server.send_events([{"user_id": "u", "event_type": "t"}] * size)
    for _ in range(4):
        assert server.get("/nowhere").status == 404
        assert server.get("/experiments", token="wrong").status == 401
    after = parse_prometheus(scrape(server))[1]
    name = "assay_http_request_duration_seconds"
    for values in (before, after):
        for kind, labels in [(name, 'scope="events:write",status="2xx"'), ("assay_log_flush_duration_seconds", ""),
                             ("assay_log_block_records", ""), ("assay_log_apply_delay_seconds", "")]:
            buckets, total, count = histogram(values, kind, labels)
            assert [b for b, _ in buckets] == sorted(b for b, _ in buckets) and buckets[-1] == (float("inf"), count)
            counts = [c for _, c in buckets]
            assert counts == sorted(counts) and (total > 0) == (count > 0)

    def grown(sample, labels=None):
        return after[(sample, labels)] - before.get((sample, labels), 0)

    assert grown(name + "_count", 'scope="events:write",status="2xx"') == 3
    assert grown(name + "_count", 'scope="none",status="4xx"') == 4
    assert grown(name + "_count", 'scope="experiments:read",status="4xx"') == 4
    assert grown("assay_http_refusals_total", 'status="401"') == 4
    blocks = grown("assay_log_blocks_total")
    assert blocks >= 3
    assert grown("assay_log_flush_duration_seconds_count") == grown("assay_log_apply_delay_seconds_count") == blocks
    assert grown("assay_log_block_records_sum") == 308 == grown("assay_log_durable_lsn")
    small, large = (dict(histogram(after, "assay_log_block_records")[0])[bound] for bound in (200, 500))
    assert large > small, "the block of 300 records"


def test_process_metrics(server):
    """What the kernel says of the process, within reason."""
    values = parse_prometheus(scrape(server))[1]
    proc = f"/proc/{server.process.pid}"
    assert values[("process_resident_memory_bytes", None)] > 1e6
    assert 10 < values[("process_open_fds", None)] < values[("process_max_fds", None)]
    age = values[("assay_uptime_seconds", None)]
    now = float(subprocess.run(["date", "+%s.%N"], capture_output=True, check=True).stdout)
    assert abs(now - age - values[("process_start_time_seconds", None)]) < 5, proc


def names_in(expression):
    """The metrics that a PromQL expression speaks of."""
    return set(re.findall(r"\b((?:assay|process)_[a-z0-9_]+)", expression))


def exported(server):
    types, values = parse_prometheus(scrape(server))
    return set(types) | {name for name, _ in values}


def test_alert_rules(server):
    """Prometheus takes the rules, and every metric in them is there."""
    path = OPS / "alerts.yml"
    expressions = re.sub(r"#.*", "", path.read_text())
    assert names_in(expressions) <= exported(server), names_in(expressions) - exported(server)
    done = promtool("check", "rules", path)
    assert done.returncode == 0 and b"SUCCESS" in done.stdout, done


def test_dashboard(server):
    """The dashboard is JSON that Grafana knows, and each metric in it is there."""
    dashboard = json.loads((OPS / "grafana-dashboard.json").read_text())
    there = exported(server)
    assert dashboard["uid"] and dashboard["schemaVersion"] and len(dashboard["panels"]) > 10
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert names_in(target["expr"]) and names_in(target["expr"]) <= there, target["expr"]
    for variable in dashboard["templating"]["list"]:
        assert names_in(variable["query"]) <= there


# Traces.

@pytest.fixture(scope="module")
def tracing():
    """A server that traces each request as JSON."""
    from conftest import Farm
    made = Farm()
    yield made.make(["--trace", "json", "--trace-requests", "all"])
    made.close()


def traced(server, request_id):
    """The one trace of this request."""
    def found():
        lines = [json.loads(line) for line in server.trace().splitlines()]
        return [line for line in lines if line.get("request_id") == request_id]
    lines = wait_until(found, f"the trace of {request_id}")
    assert len(lines) == 1
    return lines[0]


def test_request_id_goes_through(tracing):
    """A client's request id and trace context come back in the answer and stand in the trace, with who asked and for what."""
    answer = tracing.get("/experiments?limit=1", headers={"X-Request-Id": "shop:42/a", "traceparent": PARENT})
    assert answer.headers["X-Request-Id"] == "shop:42/a" and answer.headers["traceparent"] == PARENT
    line = traced(tracing, "shop:42/a")
    admin = tracing.get("/tokens").json["tokens"][0]["id"]
    assert line["kind"] == "request" and line["traceparent"] == PARENT
    assert (line["method"], line["route"], line["status"], line["token"]) == ("GET", "/experiments", 200, admin)
    assert line["address"] == "127.0.0.1" and 0 <= line["duration_us"] < 60e6


def test_request_ids_are_made(tracing):
    """Without an id, or with one that could break a log, each answer has a new one. Errors too."""
    bad = ["", "x" * 65, "a b", 'a"b', "a\\b", "ä".encode().decode("latin-1")]
    seen = set()
    for value in [None, *bad]:
        headers = {} if value is None else {"X-Request-Id": value}
        for path in ("/healthz", "/nowhere"):
            answer = tracing.get(path, headers=headers)
            made = answer.headers["X-Request-Id"]
            assert re.fullmatch("[0-9a-f]{32}", made) and made not in seen, (value, made)
            seen.add(made)
            traced(tracing, made)


@pytest.mark.parametrize("parent", ["", "00", PARENT.upper(), PARENT[:-1], PARENT + "0", "01" + PARENT[2:], PARENT.replace("-", "_"),
                                    "00-" + "0" * 32 + PARENT[35:], PARENT[:36] + "0" * 16 + PARENT[52:]])
def test_bad_trace_context_is_dropped(tracing, parent):
    """What is no trace context is not passed on, and harms nothing."""
    answer = tracing.get("/healthz", headers={"traceparent": parent})
    assert answer.status == 200 and answer.headers["traceparent"] is None


def test_traces_tell_no_secrets(tracing):
    """Neither secrets nor users nor what they did are in the traces."""
    experiment = tracing.make_experiment("Quiet")
    secret = tracing.make_token("assign")["token"]
    tracing.get(f"/experiments/{experiment['id']}/assignment/user-canary?plan=plan-canary", token=secret)
    tracing.get("/experiments/path-canary", token="assay_canary-token")
    last = tracing.send_events([{"user_id": "event-canary", "event_type": "t", "properties": {"a": "property-canary"}}])
    assert last["accepted"] == 1
    answer = tracing.get("/no/such-canary")
    traced(tracing, answer.headers["X-Request-Id"])
    trace = tracing.trace()
    assert "canary" not in trace and secret not in trace and tracing.token not in trace


def test_quiet_by_default(farm):
    """A good request leaves no line; all lines are text for people."""
    server = farm.make()
    server.get("/healthz")
    server.get("/nowhere")
    server.stop()
    assert all(line.startswith("assayd: ") for line in server.trace().splitlines())
    assert "/nowhere" not in server.trace() and "GET" not in server.trace()
