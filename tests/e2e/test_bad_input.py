"""Bad requests: each with the exact status and code it must get; after each the server is alive and nothing was stored."""
import http.client
import json
import re
import socket
import time
import urllib.parse

import pytest
from conftest import ROOT, check_problem

TWO = [{"name": "a"}, {"name": "b"}]
MIB = 1024 * 1024


def experiment(**fields):
    return {"name": "x", "variants": TWO, **fields}


def variants(*weights):
    return experiment(variants=[{"name": f"v{i}", "weight": w} for i, w in enumerate(weights)])


def rule(*rules):
    return experiment(targeting={"rules": list(rules)})


def metric(**fields):
    return {"name": "m", "type": "mean", "event_type": "purchase", "property": "amount", **fields}


def deep(depth):
    return b'{"name": ' + b"[" * depth + b"]" * depth + b"}"


E, H = "/experiments", "/experiments/here"

# method, path, body (bytes as they are, else JSON), status, code; then perhaps what the detail or the errors must say
REQUESTS = [
    # Bodies that are no JSON: 400, and the byte where it went wrong.
    ("POST", E, b"", 400, "json_truncated", "byte 0"),
    ("POST", E, b"   ", 400, "json_truncated", "byte"),
    ("POST", E, b"{", 400, "json_truncated", "byte 1"),
    ("POST", E, b'{"name"', 400, "json_truncated", "byte 7"),
    ("POST", E, b'{"name": }', 400, "json_syntax", "byte 9"),
    ("POST", E, b'{"name": "x",}', 400, "json_syntax", "byte 13"),
    ("POST", E, b'{"name": "x" "y": 1}', 400, "json_syntax", "byte 13"),
    ("POST", E, b"{'name': 1}", 400, "json_syntax", "byte 1"),
    ("POST", E, b'{"name": x}', 400, "json_syntax", "byte 9"),
    ("POST", E, b'{"name": NaN}', 400, "json_syntax", "byte 9"),
    ("POST", E, b'{"name": Infinity}', 400, "json_syntax", "byte 9"),
    ("POST", E, b'{"name": nul}', 400, "json_syntax", "byte"),
    ("POST", E, b'{"name": tru', 400, "json_truncated", "byte"),
    ("POST", E, b'{"name": 01}', 400, "json_number", "byte"),
    ("POST", E, b'{"name": 1.}', 400, "json_number", "byte"),
    ("POST", E, b'{"name": .5}', 400, "json_syntax", "byte 9"),
    ("POST", E, b'{"name": +1}', 400, "json_syntax", "byte 9"),
    ("POST", E, b'{"name": -}', 400, "json_number", "byte"),
    ("POST", E, b'{"name": 1e}', 400, "json_number", "byte"),
    ("POST", E, b'{"name": 1e999}', 400, "json_number", "byte"),
    ("POST", E, b'{"name": 0x10}', 400, "json_syntax", "byte 10"),
    ("POST", E, b'{"name": "a\nb"}', 400, "json_syntax", "byte 11"),
    ("POST", E, b'{"name": "a\x00b"}', 400, "json_syntax", "byte 11"),
    ("POST", E, b'{"name": "a\\x41"}', 400, "json_syntax", "byte"),
    ("POST", E, b'{"name": "\\u12g4"}', 400, "json_syntax", "byte"),
    ("POST", E, b'{"name": "\\ud800"}', 400, "json_surrogate", "byte"),
    ("POST", E, b'{"name": "\\udc00\\ud800"}', 400, "json_surrogate", "byte"),
    ("POST", E, b'{"name": "\xff"}', 400, "json_utf8", "byte 10"),
    ("POST", E, b'{"name": "\xc0\x80"}', 400, "json_utf8", "byte 10"),
    ("POST", E, b'{"name": "\xed\xa0\x80"}', 400, "json_utf8", "byte 10"),
    ("POST", E, b'{"name": "\xf4\x90\x80\x80"}', 400, "json_utf8", "byte 10"),
    ("POST", E, b'{"name": "\xe2\x82"}', 400, "json_utf8", "byte 10"),
    ("POST", E, b'\xef\xbb\xbf{"name": "x"}', 400, "json_syntax", "byte 0"),
    ("POST", E, b'{"name": "x"} {}', 400, "json_trailing", "byte 14"),
    ("POST", E, b'{"name": "x"}]', 400, "json_trailing", "byte 13"),
    ("POST", E, b'{"name": "x", "name": "y"}', 400, "json_duplicate_key", "byte"),
    ("POST", E, b'{"name": "x", "variants": [{"name": "a", "n\\u0061me": "b"}]}', 400, "json_duplicate_key", "byte"),
    ("POST", E, b"// no\n{}", 400, "json_syntax", "byte 0"),
    ("POST", E, deep(16), 400, "json_depth", "byte"),
    ("POST", E, deep(100_000), 400, "json_depth", "byte"),
    ("POST", E, json.dumps(experiment(targeting={str(i): 1 for i in range(1025)})).encode(), 400, "json_too_many_keys", "byte"),
    ("PATCH", H, b"{", 400, "json_truncated", "byte 1"),
    ("POST", f"{H}/assignment", b'{"user_id": }', 400, "json_syntax", "byte 12"),
    ("POST", f"{H}/assignments", b'{"users": [', 400, "json_truncated", "byte"),
    ("POST", "/assignments", b"]", 400, "json_syntax", "byte 0"),
    ("POST", "/events", b"[{]", 400, "json_syntax", "byte 2"),
    ("POST", "/metric-definitions", b"{]", 400, "json_syntax", "byte 1"),
    ("PATCH", "/metric-definitions/revenue", b"{]", 400, "json_syntax", "byte 1"),
    ("POST", "/tokens", b'{"name" "x"}', 400, "json_syntax", "byte 8"),

    # Experiments: the wrong type, missing, unknown, out of bounds. `where` is in the path of an error.
    ("POST", E, [], 422, "wrong_type"),
    ("POST", E, "text", 422, "wrong_type"),
    ("POST", E, 5, 422, "wrong_type"),
    ("POST", E, b"null", 422, "wrong_type"),
    ("POST", E, {}, 422, "validation_failed", "variants"),
    ("POST", E, {"name": "x"}, 422, "required", "variants"),
    ("POST", E, {"variants": TWO}, 422, "required", "name"),
    ("POST", E, experiment(name=None), 422, "required", "name"),
    ("POST", E, experiment(name=5), 422, "wrong_type", "name"),
    ("POST", E, experiment(name=""), 422, "out_of_range", "name"),
    ("POST", E, experiment(name="x" * 201), 422, "out_of_range", "name"),
    ("POST", E, experiment(name="a\u0007b"), 422, "malformed", "name"),
    ("POST", E, experiment(name="a\u0085b"), 422, "malformed", "name"),
    ("POST", E, experiment(description="x" * 4097), 422, "out_of_range", "description"),
    ("POST", E, experiment(description=["x"]), 422, "wrong_type", "description"),
    ("POST", E, experiment(key="Upper"), 422, "malformed", "key"),
    ("POST", E, experiment(key="with space"), 422, "malformed", "key"),
    ("POST", E, experiment(key="-first"), 422, "malformed", "key"),
    ("POST", E, experiment(key=""), 422, "out_of_range", "key"),
    ("POST", E, experiment(key="k" * 101), 422, "out_of_range", "key"),
    ("POST", E, experiment(key="01890a5d-ac96-774b-bcce-b302099a8057"), 422, "malformed", "key"),
    ("POST", E, experiment(key="here"), 409, "key_taken"),
    ("POST", E, experiment(colour="red"), 422, "unknown_field", "colour"),
    ("POST", E, experiment(id="01890a5d-ac96-774b-bcce-b302099a8057"), 422, "read_only", "id"),
    ("POST", E, experiment(version=1), 422, "read_only", "version"),
    ("POST", E, experiment(created_at="2026-01-01T00:00:00Z"), 422, "read_only", "created_at"),
    ("POST", E, experiment(salt=1), 422, "read_only", "salt"),
    ("POST", E, experiment(status="paused"), 422, "out_of_range", "status"),
    ("POST", E, experiment(status="archived"), 422, "out_of_range", "status"),
    ("POST", E, experiment(status="Running"), 422, "out_of_range", "status"),
    ("POST", E, experiment(status=1), 422, "wrong_type", "status"),
    ("POST", E, experiment(traffic_allocation=1.1), 422, "out_of_range", "traffic_allocation"),
    ("POST", E, experiment(traffic_allocation=-0.1), 422, "out_of_range", "traffic_allocation"),
    ("POST", E, experiment(traffic_allocation="1"), 422, "wrong_type", "traffic_allocation"),
    ("POST", E, experiment(layer=""), 422, "out_of_range", "layer"),
    ("POST", E, experiment(holdout="h"), 422, "wrong_type", "holdout"),
    ("POST", E, experiment(holdout={"name": "h", "share": 2}), 422, "out_of_range", "holdout.share"),
    ("POST", E, experiment(start_at="tomorrow"), 422, "malformed", "start_at"),
    ("POST", E, experiment(start_at="2026-01-01"), 422, "malformed", "start_at"),
    ("POST", E, experiment(start_at=True), 422, "wrong_type", "start_at"),
    ("POST", E, experiment(start_at=1767225600), 422, "out_of_range", "start_at"),
    ("POST", E, experiment(start_at="2026-01-02T00:00:00Z", end_at="2026-01-01T00:00:00Z"), 422, "out_of_range", "end_at"),
    ("POST", E, experiment(metrics="revenue"), 422, "wrong_type", "metrics"),
    ("POST", E, experiment(metrics=["none such"]), 422, None, "metrics[0]"),
    ("POST", E, experiment(metrics=["none_such"]), 422, "unknown_metric", "metrics[0]"),
    ("POST", E, experiment(metrics=[1]), 422, "wrong_type", "metrics[0]"),
    ("POST", E, experiment(metrics=["revenue", "revenue"]), 422, "not_unique", "metrics[1]"),
    ("POST", E, experiment(variants={}), 422, "wrong_type", "variants"),
    ("POST", E, experiment(variants=None), 422, "required", "variants"),
    ("POST", E, experiment(variants=[]), 422, "out_of_range", "variants"),
    ("POST", E, experiment(variants=TWO[:1]), 422, "out_of_range", "variants"),
    ("POST", E, experiment(variants=[{"name": f"v{i}"} for i in range(65)]), 422, "out_of_range", "variants"),
    ("POST", E, experiment(variants=["a", "b"]), 422, "validation_failed", "variants[0]"),
    ("POST", E, experiment(variants=[{"name": "a"}, {}]), 422, "required", "variants[1].name"),
    ("POST", E, experiment(variants=[{"name": "a"}, {"name": "a"}]), 422, "not_unique", "variants[1].name"),
    ("POST", E, experiment(variants=[{"name": "a"}, {"name": ""}]), 422, "out_of_range", "variants[1].name"),
    ("POST", E, experiment(variants=[{"name": "a"}, {"name": "x" * 201}]), 422, "out_of_range", "variants[1].name"),
    ("POST", E, experiment(variants=[{"name": "a", "size": 1}, {"name": "b"}]), 422, "unknown_field", "variants[0].size"),
    ("POST", E, experiment(variants=[{"name": "a", "is_control": True}, {"name": "b", "is_control": True}]), 422, "not_unique",
     "variants[1].is_control"),
    ("POST", E, experiment(variants=[{"name": "a", "is_control": 1}, {"name": "b"}]), 422, "wrong_type", "variants[0].is_control"),
    ("POST", E, experiment(variants=[{"name": "a", "value": "x" * 17000}, {"name": "b"}]), 422, "out_of_range", "variants[0].value"),
    ("POST", E, variants(0.5, 0.6), 422, "weights_sum", "1.1"),
    ("POST", E, variants(0.5, 0.49), 422, "weights_sum", "0.99"),
    ("POST", E, variants(0.5, 0.499998), 422, "weights_sum", "0.999998"),
    ("POST", E, variants(0.2, 0.2, 0.2), 422, "weights_sum", "0.6"),
    ("POST", E, variants(0, 0), 422, "weights_sum", "0"),
    ("POST", E, variants(50, 50), 422, "validation_failed", "variants[0].weight"),
    ("POST", E, variants(1.5, -0.5), 422, "validation_failed", "variants[1].weight"),
    ("POST", E, variants("0.5", 0.5), 422, "wrong_type", "variants[0].weight"),
    ("POST", E, variants(0.5, None), 422, "required", "variants[1].weight"),
    ("POST", E, experiment(variants=[{"name": "a", "weight": 1}, {"name": "b"}]), 422, "required", "variants[1].weight"),
    ("POST", E, experiment(targeting=[]), 422, "wrong_type", "targeting"),
    ("POST", E, experiment(targeting={"contries": ["US"]}), 422, "unknown_field", "targeting.contries"),
    ("POST", E, experiment(targeting={"countries": "US"}), 422, "wrong_type", "targeting.countries"),
    ("POST", E, experiment(targeting={"countries": [1]}), 422, None, "targeting.countries"),
    ("POST", E, experiment(targeting={"min_version": "two"}), 422, None, "targeting.min_version"),
    ("POST", E, experiment(targeting={"min_version": 2}), 422, "wrong_type", "targeting.min_version"),
    ("POST", E, rule({"attribute": "a", "op": "like", "value": 1}), 422, None, "targeting.rules[0].op"),
    ("POST", E, rule({"attribute": "a", "op": "in", "value": 1}), 422, None, "targeting.rules[0]"),
    ("POST", E, rule({"attribute": "a", "op": "eq", "values": [1]}), 422, None, "targeting.rules[0]"),
    ("POST", E, rule({"attribute": "a", "op": "eq", "value": {}}), 422, None, "targeting.rules[0].value"),
    ("POST", E, rule({"op": "eq", "value": 1}), 422, "required", "targeting.rules[0].attribute"),
    ("POST", E, rule({"attribute": "a", "value": 1}), 422, "required", "targeting.rules[0].op"),
    ("POST", E, rule({"attribute": "", "op": "eq", "value": 1}), 422, None, "targeting.rules[0].attribute"),
    ("POST", E, rule({"all": []}, {"nor": []}), 422, None, "targeting.rules[1]"),
    ("POST", E, rule({"not": []}), 422, "wrong_type", "targeting.rules[0].not"),
    ("POST", E, rule("country = US"), 422, "wrong_type", "targeting.rules[0]"),
    ("POST", E, rule(*[{"attribute": "a", "op": "eq", "value": 1}] * 101), 422, None, "targeting"),
    ("POST", E, rule({"attribute": "a", "op": "in", "values": list(range(1001))}), 422, None, "targeting.rules[0].values"),
    ("POST", f"{E}?dry_run=true", experiment(), 422, "unknown_parameter", "dry_run"),
    ("PATCH", H, [], 422, "wrong_type"),
    ("PATCH", H, {"name": None}, 422, "required", "name"),
    ("PATCH", H, {"key": "there"}, 422, "immutable", "key"),
    ("PATCH", H, {"id": "01890a5d-ac96-774b-bcce-b302099a8057"}, 422, "read_only", "id"),
    ("PATCH", H, {"version": 7}, 422, "read_only", "version"),
    ("PATCH", H, {"status": "draft"}, 409, "invalid_transition", "paused, completed"),
    ("PATCH", H, {"status": "archived"}, 409, "invalid_transition", "paused, completed"),
    ("PATCH", H, {"status": None}, 422, "wrong_type", "status"),
    ("PATCH", H, {"variants": TWO}, 422, None, "variants"),
    ("PATCH", H, {"variants": [{"name": "control"}, {"name": "treatment"}, {"name": "third"}]}, 422, "required", "variants"),
    ("PATCH", H, {"variants": [{"name": "control"}, {"name": "treatment", "is_control": True}]}, 422, "immutable", "variants"),
    ("PATCH", H, {"traffic_allocation": 2}, 422, "out_of_range", "traffic_allocation"),
    ("PATCH", H, {"nonsense": 1}, 422, "unknown_field", "nonsense"),

    # Assignments.
    ("POST", f"{H}/assignment", {}, 422, "required", "user_id"),
    ("POST", f"{H}/assignment", [], 422, "wrong_type"),
    ("POST", f"{H}/assignment", {"user_id": 5}, 422, "wrong_type", "user_id"),
    ("POST", f"{H}/assignment", {"user_id": ""}, 422, "invalid_user_id", "user_id"),
    ("POST", f"{H}/assignment", {"user_id": "x" * 256}, 422, "invalid_user_id", "user_id"),
    ("POST", f"{H}/assignment", {"user_id": "u", "variant": "control"}, 422, "unknown_field", "variant"),
    ("POST", f"{H}/assignment", {"user_id": "u", "attributes": []}, 422, "wrong_type", "attributes"),
    ("POST", f"{H}/assignment", {"user_id": "u", "attributes": {"a": "x" * 9000}}, 422, "too_large", "attributes"),
    ("POST", f"{H}/assignment", {"user_id": "u", "enroll": "no"}, 422, "wrong_type", "enroll"),
    ("POST", f"{H}/assignment?enroll=false", {"user_id": "u"}, 422, "unknown_parameter", "enroll"),
    ("POST", f"{H}/assignments", {}, 422, None, "users"),
    ("POST", f"{H}/assignments", {"users": {}}, 422, None, "users"),
    ("POST", f"{H}/assignments", [{"user_id": "u"}], 422, None, "users"),
    ("POST", f"{H}/assignments", {"users": [{"user_id": "u"}], "x": 1}, 422, None),
    ("POST", f"{H}/assignments", {"users": ["u"]}, 422, "wrong_type", "users[0]"),
    ("POST", f"{H}/assignments", {"users": [{"user_id": "u", "variant": "none"}]}, 422, "unknown_variant", "users[0].variant"),
    ("POST", f"{H}/assignments", {"users": [{"user_id": "u", "assigned_at": "x"}]}, 422, "invalid_timestamp", "users[0].assigned_at"),
    ("POST", f"{H}/assignments", {"users": [{"user_id": "u", "assigned_at": 1}]}, 422, "out_of_range", "users[0].assigned_at"),
    ("POST", f"{H}/assignments", {"users": [{"user_id": "u", "assigned_at": 4102444800000}]}, 422, "out_of_range",
     "users[0].assigned_at"),
    ("POST", "/assignments", {}, 422, "required", "user_id"),
    ("POST", "/assignments", {"user_id": "u", "experiments": []}, 422, "unknown_field", "experiments"),
    ("GET", f"{H}/assignment/u?enroll=no", None, 422, "invalid_enroll"),
    ("GET", f"{H}/assignment/{'x' * 256}", None, 422, "invalid_user_id"),
    ("GET", f"{H}/assignment/a%0ab", None, 422, "invalid_user_id"),
    ("GET", f"{H}/assignment/u?a={'x' * 1900}&a=1", None, None, None),
    ("GET", f"{H}/assignments?variant=none", None, 422, "unknown_variant"),
    ("GET", f"{H}/assignments?user=u", None, 422, "unknown_parameter", "user"),

    # Events (more in test_contract_events.py).
    ("POST", "/events", b"null", 422, "all_events_rejected"),
    ("POST", "/events", b'"event"', 422, "all_events_rejected"),
    ("POST", "/events", {}, 422, "all_events_rejected", "user_id"),
    ("POST", "/events", {"user_id": "u"}, 422, "all_events_rejected", "event_type"),
    ("POST", "/events", {"events": {}}, 422, "wrong_type"),
    ("POST", "/events", {"events": [], "more": 1}, 422, "unknown_field"),
    ("POST", "/events?strict=yes", [], 422, "invalid_strict"),
    ("POST", "/events?stict=true", [], 422, "unknown_parameter", "stict"),

    # Metrics.
    ("POST", "/metric-definitions", {}, 422, "validation_failed", "type"),
    ("POST", "/metric-definitions", metric(name="Bad Name"), 422, "malformed", "name"),
    ("POST", "/metric-definitions", metric(name="revenue"), 409, "name_taken"),
    ("POST", "/metric-definitions", metric(type="median"), 422, "out_of_range", "type"),
    ("POST", "/metric-definitions", metric(type="proportion"), 422, "not_allowed", "property"),
    ("POST", "/metric-definitions", metric(aggregation="sum", property=None), 422, "required", "property"),
    ("POST", "/metric-definitions", metric(aggregation="count"), 422, "not_allowed", "property"),
    ("POST", "/metric-definitions", metric(aggregation="average"), 422, "out_of_range", "aggregation"),
    ("POST", "/metric-definitions", metric(direction="up"), 422, "out_of_range", "direction"),
    ("POST", "/metric-definitions", metric(event_type=""), 422, "out_of_range", "event_type"),
    ("POST", "/metric-definitions", metric(filters={}), 422, "wrong_type", "filters"),
    ("POST", "/metric-definitions", metric(filters=[{"property": "a", "op": "eq"}]), 422, "required", "filters[0]"),
    ("POST", "/metric-definitions", metric(filters=[{"property": "a", "op": "near", "value": 1}]), 422, None, "filters[0].op"),
    ("POST", "/metric-definitions", metric(filters=[{"property": "a", "op": "eq", "value": 1}] * 21), 422, "out_of_range", "filters"),
    ("POST", "/metric-definitions", metric(formula="x"), 422, "unknown_field", "formula"),
    ("PATCH", "/metric-definitions/none", {}, 404, "metric_not_found"),
    ("PATCH", "/metric-definitions/revenue", {"name": "other"}, 422, "immutable", "name"),
    ("PATCH", "/metric-definitions/revenue", {"type": "proportion"}, 422, None, "property"),
    ("DELETE", "/metric-definitions/none", None, 404, "metric_not_found"),
    ("GET", "/metric-definitions?archived=maybe", None, 422, "invalid_archived"),

    # Tokens.
    ("POST", "/tokens", {}, 422, "validation_failed", "scopes"),
    ("POST", "/tokens", {"name": "t", "scopes": []}, 422, "out_of_range", "scopes"),
    ("POST", "/tokens", {"name": "t", "scopes": ["root"]}, 422, "out_of_range", "scopes[0]"),
    ("POST", "/tokens", {"name": "t", "scopes": "admin"}, 422, "wrong_type", "scopes"),
    ("POST", "/tokens", {"name": "t", "scopes": ["assign", "assign"]}, 422, "not_unique", "scopes[1]"),
    ("POST", "/tokens", {"name": "t", "scopes": ["assign"], "expires_at": "2020-01-01T00:00:00Z"}, 422, "out_of_range", "expires_at"),
    ("POST", "/tokens", {"name": "t", "scopes": ["assign"], "digest": "x"}, 422, "unknown_field", "digest"),
    ("POST", "/tokens?x=1", {"name": "t", "scopes": ["assign"]}, 422, "unknown_parameter", "x"),
    ("DELETE", "/tokens/none", None, 404, "not_found"),
    ("DELETE", "/tokens/01890a5d-ac96-774b-bcce-b302099a8057", None, 404, "not_found"),

    # Nothing there.
    ("GET", "/experiment", None, 404, "no_such_path"),
    ("GET", "/experiments/", None, 404, "no_such_path"),
    ("GET", "//experiments", None, 404, "no_such_path"),
    ("GET", "/Experiments", None, 404, "no_such_path"),
    ("GET", "/events/1", None, 404, "no_such_path"),
    ("GET", f"{H}/assignment/", None, 404, "no_such_path"),
    ("GET", f"{H}/assignment/a/b", None, 404, "no_such_path"),
    ("GET", "/experiments/none", None, 404, "experiment_not_found"),
    ("GET", "/experiments/01890a5d-ac96-774b-bcce-b302099a8057", None, 404, "experiment_not_found"),
    ("PATCH", "/experiments/none", {}, 404, "experiment_not_found"),
    ("DELETE", "/experiments/none", None, 404, "experiment_not_found"),
    ("GET", "/experiments/none/history", None, 404, "experiment_not_found"),
    ("GET", "/experiments/none/results", None, 404, "experiment_not_found"),
    ("GET", "/experiments/none/assignment/u", None, 404, "experiment_not_found"),
    ("POST", "/experiments/none/assignment", {"user_id": "u"}, 404, "experiment_not_found"),
    ("POST", "/experiments/none/assignments", {"users": []}, 404, "experiment_not_found"),
    ("GET", "/experiments/none/assignments", None, 404, "experiment_not_found"),
    ("GET", "/metric-definitions/none", None, 404, "metric_not_found"),

    # Queries.
    ("GET", f"{E}?limit=0", None, 422, "invalid_limit"),
    ("GET", f"{E}?limit=501", None, 422, "invalid_limit"),
    ("GET", f"{E}?limit=-1", None, 422, "invalid_limit"),
    ("GET", f"{E}?limit=ten", None, 422, "invalid_limit"),
    ("GET", f"{E}?limit=99999999999999999999", None, 422, "invalid_limit"),
    ("GET", f"{E}?limit=", None, 422, "invalid_limit"),
    ("GET", f"{E}?cursor=1", None, 422, "invalid_cursor"),
    ("GET", f"{E}?cursor=cZZ", None, 422, "invalid_cursor"),
    ("GET", f"{E}?cursor=", None, 422, "invalid_cursor"),
    ("GET", f"{E}?status=live", None, 422, "invalid_status"),
    ("GET", f"{E}?state=running", None, 422, "unknown_parameter", "state"),
    ("GET", f"{H}?expand=all", None, 422, "unknown_parameter", "expand"),
    ("GET", f"{H}/history?limit=0", None, 422, "invalid_limit"),
    ("GET", f"{H}/assignments?limit=501", None, 422, "invalid_limit"),
    ("GET", f"{H}/assignments?cursor=x", None, 422, "invalid_cursor"),
    ("GET", "/tokens?limit=501", None, 422, "invalid_limit"),
    ("GET", f"{H}/results?start_date=2026-13-01", None, 422, "invalid_date", "start_date"),
    ("GET", f"{H}/results?start_date=2026-02-30", None, 422, "invalid_date", "start_date"),
    ("GET", f"{H}/results?end_date=2026-1-1", None, 422, "invalid_date", "end_date"),
    ("GET", f"{H}/results?end_date=2026-01-01T00:00:00Z", None, 422, "invalid_date", "end_date"),
    ("GET", f"{H}/results?start_date=2026-01-02&end_date=2026-01-01", None, 422, "out_of_range", "end_date"),
    ("GET", f"{H}/results?metrics=none", None, 422, "unknown_metric", "none"),
    ("GET", f"{H}/results?metrics=", None, 422, "unknown_metric"),
    ("GET", f"{H}/results?metrics=revenue,,revenue", None, 422, "unknown_metric"),
    ("GET", f"{H}/results?group_by=week", None, 422, "invalid_value", "group_by"),
    ("GET", f"{H}/results?confidence_level=95", None, 422, "out_of_range", "confidence_level"),
    ("GET", f"{H}/results?confidence_level=1", None, 422, "out_of_range", "confidence_level"),
    ("GET", f"{H}/results?confidence_level=0.5", None, 422, "out_of_range", "confidence_level"),
    ("GET", f"{H}/results?confidence_level=nan", None, 422, "out_of_range", "confidence_level"),
    ("GET", f"{H}/results?confidence_level=0x0.f", None, 422, "out_of_range", "confidence_level"),
    ("GET", f"{H}/results?test=t", None, 422, "invalid_value", "test"),
    ("GET", f"{H}/results?correction=bonferroni", None, 422, "invalid_value", "correction"),
    ("GET", f"{H}/results?format=xml", None, 422, None, "format"),
    ("GET", f"{H}/results?confidence=0.9", None, 422, "unknown_parameter", "confidence"),
    ("GET", f"{H}/results?test=t&group_by=week", None, 422, "invalid_query", "group_by"),
    ("GET", "/power", None, 422, "invalid_query", "mde"),
    ("GET", "/power?baseline=0.1", None, 422, "required", "mde"),
    ("GET", "/power?baseline=0.1&mde=0", None, 422, "no_sample_size"),
    ("GET", "/power?baseline=2&mde=0.1", None, 422, "no_sample_size"),
    ("GET", "/power?baseline=0.9&mde=0.5", None, 422, "no_sample_size"),
    ("GET", "/power?baseline=0.1&mde=0.1&power=1", None, 422, "out_of_range", "power"),
    ("GET", "/power?baseline=0.1&mde=0.1&alpha=0", None, 422, "out_of_range", "alpha"),
    ("GET", "/power?baseline=0.1&mde=0.1&variants=1", None, 422, "out_of_range", "variants"),
    ("GET", "/power?baseline=0.1&mde=0.1&variants=2.5", None, 422, "out_of_range", "variants"),
    ("GET", "/power?baseline=x&mde=0.1", None, 422, "out_of_range", "baseline"),
    ("GET", "/power?baseline=0.1&mde=0.1&beta=0.2", None, 422, "unknown_parameter", "beta"),

    # Paths that are no percent-encoded UTF-8, or too long.
    ("GET", f"{H}/assignment/%", None, 400, None),
    ("GET", f"{H}/assignment/%4", None, 400, None),
    ("GET", f"{H}/assignment/%zz", None, 400, None),
    ("GET", f"{H}/assignment/%ff", None, 400, None),
    ("GET", f"{H}/assignment/%c0%80", None, 400, None),
    ("GET", f"{H}/assignment/a%00b", None, 400, None),
    ("GET", f"{E}?q=%ff", None, 400, None),
    ("GET", f"{E}?q={'x' * 2048}", None, 414, None),

    # Too large.
    ("POST", E, b" " * (2 * MIB + 1), 413, "body_too_large"),
    ("POST", E, b" " * (5 * MIB), 413, "body_too_large"),
    ("PATCH", H, b" " * (2 * MIB + 1), 413, "body_too_large"),
    ("POST", "/events", b" " * (2 * MIB + 1), 413, "body_too_large"),
    ("POST", E, experiment(variants=[{"name": f"v{i}", "value": "x" * 16000} for i in range(20)]), 422, None),
]

WRITES = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def here(server):
    """The experiment that the table's paths name: running, with a user in each variant."""
    made = server.make_experiment("Here", key="here")
    server.force(made, [("h1", "control", None), ("h2", "treatment", None)])
    return made


def position(server):
    """How far the log goes: whatever stored anything moved it."""
    return server.get("/status").json["log"]["durable_lsn"]


def test_the_table_is_long():
    assert len(REQUESTS) >= 150


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: f"{row[0]} {row[1][:40]} {str(row[2])[:50]}".replace("[", "("))
def test_request(server, here, row):
    """The status and code of the row, what it must say, and nothing stored."""
    method, path, body, status, code = row[:5]
    before = position(server)
    answer = server.request(method, path, body)
    if status is None:
        assert answer.status < 500, answer
    else:
        problem = check_problem(answer, status, code if code is not None else answer.json.get("code"))
        for say in row[5:]:
            said = problem["detail"] + " " + json.dumps(problem.get("errors", []))
            assert say in said, f"{say!r} is not in {said}"
    assert server.is_alive()
    if method in WRITES:
        assert position(server) == before, "something was stored"


def test_offset_is_a_member(server):
    """The byte offset of a JSON fault is also there for machines."""
    assert server.post(E, b'{"name": }').json["offset"] == 9


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data",
                                  "application/jsonx", "json", "*/*"])
def test_content_types(server, here, kind):
    """Another content type than those documented is 415."""
    for path, body in ((E, experiment()), ("/events", []), (f"{H}/assignment", {"user_id": "u"})):
        check_problem(server.post(path, body, content_type=kind), 415, "unsupported_media_type")


def test_lines_only_for_events(server, here):
    """NDJSON is for events; a definition as NDJSON is 415."""
    check_problem(server.post(E, experiment(), content_type="application/x-ndjson"), 415, "unsupported_media_type")


# Routes.

def routes():
    """Method, path pattern, scope and openness of every route, from the server's own table."""
    text = (ROOT / "api" / "routes.c").read_text()
    rows = re.findall(r'\{HTTP_(\w+), "([^"]+)", (\w+), (true|false),', text)
    assert len(rows) >= 20
    return [(method, path, None if public == "true" else scope) for method, path, scope, public in rows]


SCOPES = {"SCOPE_ADMIN": "admin", "SCOPE_EXPERIMENTS_READ": "experiments:read", "SCOPE_EXPERIMENTS_WRITE": "experiments:write",
          "SCOPE_ASSIGN": "assign", "SCOPE_EVENTS_WRITE": "events:write", "SCOPE_RESULTS_READ": "results:read"}
# What the contract asks for, by hand, so that the table above cannot be wrong with the server.
CONTRACT = {
    ("POST", "/events"): "events:write", ("GET", "/experiments/{id}/assignment/{user_id}"): "assign",
    ("POST", "/experiments/{id}/assignment"): "assign", ("POST", "/experiments/{id}/assignments"): "assign",
    ("POST", "/ofrep/v1/evaluate/flags/{key}"): "assign", ("POST", "/ofrep/v1/evaluate/flags"): "assign",
    ("POST", "/assignments"): "assign", ("POST", "/experiments"): "experiments:write",
    ("GET", "/experiments"): "experiments:read", ("GET", "/experiments/{id}"): "experiments:read",
    ("PATCH", "/experiments/{id}"): "experiments:write", ("DELETE", "/experiments/{id}"): "experiments:write",
    ("GET", "/experiments/{id}/results"): "results:read", ("POST", "/tokens"): "admin", ("GET", "/tokens"): "admin",
    ("DELETE", "/tokens/{id}"): "admin", ("GET", "/healthz"): None, ("GET", "/readyz"): None,
}


def concrete(path):
    return path.replace("{id}", "none").replace("{user_id}", "u").replace("{name}", "none").replace("{key}", "none")


def check_refusal(path, answer, status, code):
    """An error in the form of its path: RFC 9457, or what OpenFeature's or Segment's clients read. Returns its explanation."""
    if path.startswith("/v1/"):
        assert answer.status == status and answer.json["code"] == code, answer
        return answer.json["message"]
    if not path.startswith("/ofrep/"):
        return check_problem(answer, status, code)["detail"]
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["errorCode"] == "GENERAL" and answer.json["metadata"] == {}, answer
    return answer.json["errorDetails"]


def test_scopes_of_the_contract():
    """The routes that the contract gives a scope have that one."""
    table = {(m, p): SCOPES.get(s) for m, p, s in routes()}
    for route, scope in CONTRACT.items():
        assert table[route] == scope, route


def test_token_matrix(server):
    """Every route with every scope: its own and admin pass, all others are 403; without a token 401; open ones need none."""
    tokens = {scope: server.make_token(scope)["token"] for scope in SCOPES.values()}
    everything_else = {scope: server.make_token(*(set(SCOPES.values()) - {scope, "admin"}))["token"] for scope in SCOPES.values()}
    before = position(server)
    for method, path, scope in routes():
        body = b"" if method in ("POST", "PUT", "PATCH") else None
        target = concrete(path)
        if path in ("/stream", "/ofrep/v1/stream") or (method, path) == ("DELETE", "/users/{user_id}"):
            target += "?nothing=1"  # else the one would never end, and the other do what it says
        if scope is None:
            found = 404 if "{file}" in path else 200  # open, but there is no file of this name
            assert server.request(method, target, body, token=None).status == found, path
            assert server.request(method, target, body, token="wrong").status == found, path
            continue
        answer = server.request(method, target, body, token=None)
        check_refusal(path, answer, 401, "token_missing")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), path
        for name, token in tokens.items():
            answer = server.request(method, target, body, token=token)
            if name in (SCOPES[scope], "admin"):
                assert answer.status not in (401, 403), (method, path, name, answer)
            else:
                assert SCOPES[scope] in check_refusal(path, answer, 403, "insufficient_scope")
        check_refusal(path, server.request(method, target, body, token=everything_else[SCOPES[scope]]), 403, "insufficient_scope")
    assert position(server) == before


def test_bad_tokens(server):
    """Unknown, cut, changed, empty and otherwise presented tokens: 401 with WWW-Authenticate, the same words for all."""
    good = server.token
    details = set()
    for header in (f"Bearer {good[:-1]}", f"Bearer {good}x", f"Bearer {good.swapcase()}", "Bearer wrong", "Bearer", "Bearer ",
                   f"Basic {good}", good, f"Token {good}", f"Bearer {'x' * 600}", f"Bearer  {good}", "Bearer \u00ff"):
        answer = server.get(E, token=None, headers={"Authorization": header})
        problem = check_problem(answer, 401, "token_invalid")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), header
        details.add(problem["detail"])
    assert len(details) == 1
    assert server.get(E, token=None, headers={"Authorization": f"bearer {good}"}).status == 200


def test_revoked_token(farm):
    """A revoked token fails on the next request, of open connections too, and after a restart; others go on."""
    server = farm.make()
    token = server.make_token("experiments:read")
    other = server.make_token("experiments:read")
    client = server.client(token["token"])
    assert client.request("GET", E).status == 200
    assert server.delete(f"/tokens/{token['id']}").status == 204
    check_problem(client.request("GET", E), 401, "token_invalid")
    assert server.delete(f"/tokens/{token['id']}").status == 204
    server.restart(kill=True)
    check_problem(server.get(E, token=token["token"]), 401, "token_invalid")
    assert server.get(E, token=other["token"]).status == 200
    listed = {t["id"]: t for t in server.get("/tokens").json["tokens"]}
    assert listed[token["id"]]["revoked_at"] and not listed[other["id"]]["revoked_at"]


def test_expired_token(server):
    """A token fails from its expires_at on, without any write in between."""
    at = int(time.time() * 1000) + 1200
    token = server.make_token("experiments:read", expires_at=at)["token"]
    assert server.get(E, token=token).status == 200
    while time.time() * 1000 < at + 5:
        time.sleep(0.05)
    check_problem(server.get(E, token=token), 401, "token_invalid")


def test_secrets_are_shown_once(server):
    """A token's secret is in the answer that made it, and nowhere else."""
    made = server.make_token("assign")
    assert len(made["token"]) >= 32
    for path in ("/tokens?limit=500", "/status", "/metrics"):
        assert made["token"] not in server.get(path).body.decode()
    assert made["token"] not in server.trace()
    for file in server.data.rglob("*"):
        if file.is_file() and file.name != "admin-token":
            assert made["token"].encode() not in file.read_bytes(), file


def test_methods(server, here):
    """A path that is there by another method: 405, with Allow naming those it takes."""
    by_path = {}
    for method, path, _ in routes():
        by_path.setdefault(path, set()).add(method)
    for path, methods in by_path.items():
        if "GET" in methods:
            methods.add("HEAD")
        for method in {"GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "TRACE"} - methods:
            answer = server.request(method, concrete(path))
            check_refusal(path, answer, 405, "method_not_allowed")
            assert {m.strip() for m in answer.headers["Allow"].split(",")} == methods, (method, path)


def test_head(server, here):
    """HEAD is GET without a body: the same status, type and length."""
    for path in (H, "/healthz", "/experiments/none"):
        get, head = server.get(path), server.request("HEAD", path)
        assert head.status == get.status and head.body == b""
        assert head.headers["Content-Length"] == get.headers["Content-Length"] == str(len(get.body))
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


# Requests that no HTTP library would send.

def exchange(server, data, timeout=5):
    """Sends bytes, reads until the server closes or one answer is whole."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
        except (http.client.BadStatusLine, ConnectionResetError):
            return None, b""
        return response, response.read()


def head(line, *headers):
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


AUTH = "Authorization: Bearer {token}"
# Bytes, and the statuses that are right for them; None: the connection is closed without an answer. libh2o answers by itself,
# with plain text, what it cannot read as HTTP at all; that is the PLAIN ones.
PLAIN = [
    (b"\r\n\r\n\x00\x01\x02", (None, 400)),
    (b"GET\r\n\r\n", (None, 400)),
    (b"GET /healthz\r\n\r\n", (None, 400)),
    (b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", (None, 400, 505)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, (None, 400)),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (None, 400, 404, 405)),
    (head("GET /healthz HTTP/1.1", "Host: x", ": no name"), (400,)),
]
RAW = [
    (head("POST /events HTTP/1.1", "Host: x", AUTH, "Content-Length: 2", "Content-Length: 2") + b"[]", (400,)),
    (head("POST /events HTTP/1.1", "Host: x", AUTH, "Content-Length: 2", "Transfer-Encoding: chunked") + b"2\r\n[]\r\n0\r\n\r\n", (400,)),
    (head("POST /events HTTP/1.1", "Host: x", AUTH, "Content-Length: -1"), (None, 400, 413)),
    (head("POST /events HTTP/1.1", "Host: x", AUTH, "Content-Length: two") + b"[]", (None, 400)),
    (head("POST /events HTTP/1.1", "Host: x", AUTH, "Content-Length: 99999999999999999999"), (None, 400, 413)),
    (head("POST /events HTTP/1.1", "Host: x", AUTH, "Transfer-Encoding: gzip") + b"[]", (None, 400, 501)),
    (head("POST /events HTTP/1.1", "Host: x", AUTH, "Transfer-Encoding: chunked") + b"zz\r\n[]\r\n0\r\n\r\n", (None, 400)),
    (head("GET /experiments HTTP/1.1", "Host: x", AUTH, AUTH), (400,)),
    (head("GET /healthz HTTP/1.1", "Host: x", " folded: y"), (400,)),
    (head("GET /healthz HTTP/1.1", "Host: x", *[f"X-{i}: y" for i in range(70)]), (400, 431)),
    (head("GET /healthz HTTP/1.1", "Host: x", "X: " + "y" * 20000), (400, 431)),
    (head("GET " + "/x" * 40000 + " HTTP/1.1", "Host: x"), (400, 414, 431)),
]


@pytest.mark.parametrize("number", range(len(PLAIN + RAW)))
def test_malformed_http(server, number):
    """What is no HTTP, or could be read in two ways, is refused or cut off; the server goes on, and nothing is stored."""
    data, allowed = (PLAIN + RAW)[number]
    before = position(server)
    response, body = exchange(server, data.replace(b"{token}", server.token.encode()))
    status = response.status if response is not None else None
    assert status in allowed, (status, body)
    if response is not None and number >= len(PLAIN):
        assert response.getheader("Content-Type", "").startswith("application/problem+json"), (status, body, response.headers)
        assert {"type", "title", "status", "detail", "code", "message"} <= set(json.loads(body))
    assert server.get("/healthz").status == 200
    assert position(server) == before


def test_half_requests(server):
    """Clients that go away in the middle of a head or a body harm nobody, and their events are not stored."""
    before = position(server)
    whole = head("POST /events HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token}", "Content-Type: application/json",
                 "Content-Length: 100") + b'[{"user_id": "u", "event_type": "t"}'
    for size in range(0, len(whole), 9):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(whole[:size])
    assert server.get("/healthz").status == 200
    assert position(server) == before


def test_pipelined_requests(server, here):
    """Several requests in one packet are answered in order."""
    one = head("GET /healthz HTTP/1.1", "Host: x")
    two = head("GET /experiments/here HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token}", "Connection: close")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(one + one + two)
        text = b""
        while piece := connection.recv(65536):
            text += piece
    assert text.count(b"HTTP/1.1 200") == 3
    assert text.rindex(b'"key":"here"') > text.rindex(b'{"status":"ok"}')


def test_chunked_bodies(server):
    """A body in chunks is as good as one with a length."""
    line = head("POST /events HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token}", "Transfer-Encoding: chunked")
    body = json.dumps([{"user_id": "chunky", "event_type": "t"}]).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7))
    response, text = exchange(server, line + chunks + b"0\r\n\r\n")
    assert response.status == 202, text
    assert json.loads(text)["accepted"] == 1


def test_query_names_are_decoded(server, here):
    """A parameter is known by its decoded name, and a list in a query may be percent-encoded."""
    query = urllib.parse.urlencode({"metrics": "revenue,conversion_rate"})
    assert server.get(f"{H}/results?{query}").status == 200
    assert server.get(f"{H}/results?m%65trics=revenue").status == 200
