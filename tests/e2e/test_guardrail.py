"""Guardrails: worse by more than the margin, no worse than it, or not yet known; by the interval of the test asked for."""
import pytest
from conftest import variant_of

USERS = 1500


@pytest.fixture(scope="module")
def shop(server):
    """Conversions of 40 % in the control, 20 %, 39 % and 60 % in the others."""
    shares = {"control": 0.4, "worse": 0.2, "same": 0.4, "better": 0.6}
    made = server.post("/experiments", {"name": "Guarded", "variants": [{"name": name} for name in shares],
                                        "metrics": ["conversion_rate"]}).json
    users = {name: [f"{name}-{i}" for i in range(USERS)] for name in shares}
    server.force(made, [(user, name, "2026-01-01T00:00:00Z") for name in shares for user in users[name]])
    server.send_events([{"event_id": user, "user_id": user, "event_type": kind, "timestamp": "2026-01-02T00:00:00Z"}
                        for name, share in shares.items() for user in users[name][:int(share * USERS)] for kind in ("conversion",)])
    return server, made


def define(server, direction, margin):
    name = f"guarded_{direction}_{int(margin * 1000)}"
    answer = server.post("/metric-definitions", {"name": name, "type": "proportion", "event_type": "conversion", "direction": direction,
                                                 "guardrail_margin": margin})
    assert answer.status == 201 and answer.json["guardrail_margin"] == margin, answer
    return name


@pytest.mark.parametrize("test", ["sequential", "welch"])
@pytest.mark.parametrize("direction, margin, wanted", [
    ("increase", 0.2, {"worse": "breached", "same": "ok", "better": "ok"}),
    ("increase", 0.0, {"worse": "breached", "same": "undecided", "better": "ok"}),
    ("decrease", 0.2, {"worse": "ok", "same": "ok", "better": "breached"}),
    ("increase", 0.5, {"worse": "undecided", "same": "ok", "better": "ok"}),
])
def test_status(shop, test, direction, margin, wanted):
    server, made = shop
    name = f"guarded_{direction}_{int(margin * 1000)}"
    if server.get(f"/metric-definitions/{name}").status == 404:
        define(server, direction, margin)
    results = server.results(made, f"?metrics={name}&test={test}")
    for variant, status in wanted.items():
        assert variant_of(results, variant)["metrics"][name]["vs_control"]["guardrail"] == {"margin": margin, "status": status}, variant
    assert any("guardrail is breached" in w for w in results["warnings"]) == ("breached" in wanted.values())


def test_no_guardrail(shop):
    """Without a margin there is none; with null it goes."""
    server, made = shop
    assert "guardrail" not in variant_of(server.results(made), "worse")["metrics"]["conversion_rate"]["vs_control"]
    name = define(server, "increase", 0.125)
    assert server.request("PATCH", f"/metric-definitions/{name}", {"guardrail_margin": None}).json["guardrail_margin"] is None
    assert "guardrail" not in variant_of(server.results(made, f"?metrics={name}"), "worse")["metrics"][name]["vs_control"]


def test_too_few_users(farm):
    """Nothing is decided of a handful."""
    server = farm.make()
    name = define(server, "increase", 0.1)
    made = server.make_experiment("Few", metrics=[name])
    server.force(made, [(f"c{i}", "control", "2026-01-01T00:00:00Z") for i in range(9)] +
                 [(f"t{i}", "treatment", "2026-01-01T00:00:00Z") for i in range(9)])
    server.send_events([{"user_id": f"c{i}", "event_type": "conversion", "timestamp": "2026-01-02T00:00:00Z"} for i in range(9)])
    assert variant_of(server.results(made), "treatment")["metrics"][name]["vs_control"]["guardrail"]["status"] == "undecided"
