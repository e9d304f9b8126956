"""GET /audit: every change of a definition, once, in order, with its author, over restarts too."""


def entries(server, limit=500):
    found, cursor = [], ""
    while cursor is not None:
        answer = server.get(f"/audit?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status == 200, answer
        found += answer.json["entries"]
        cursor = answer.json["next_cursor"]
    return found


def test_every_change_once_and_by_whom(farm):
    server = farm.make()
    begun = len(entries(server))
    token = server.post("/tokens", {"name": "writer", "scopes": ["experiments:write", "experiments:read"]}).json
    writer = server.client(token=token["token"])
    made = writer.request("POST", "/experiments", {"name": "Audited", "variants": [{"name": "a"}, {"name": "b"}]}).json
    assert writer.request("PATCH", f"/experiments/{made['id']}", {"description": "changed"}).status == 200
    assert writer.request("POST", "/metric-definitions", {"name": "audited", "type": "proportion", "event_type": "x"}).status == 201
    assert writer.request("DELETE", "/metric-definitions/audited").status in (200, 204)
    writer.close()
    assert server.request("DELETE", f"/tokens/{token['id']}").status == 204
    found = entries(server)[begun:]
    assert [(e["kind"], e["action"], e["name"], e["version"]) for e in found] == [
        ("token", "created", "writer", 1), ("experiment", "created", "audited", 1), ("experiment", "changed", "audited", 2),
        ("metric", "created", "audited", 1), ("metric", "archived", "audited", 2), ("token", "revoked", "writer", 2)]
    assert [e["author"] for e in found[1:5]] == [token["id"]] * 4
    assert found[0]["author"] == found[5]["author"] != token["id"]
    assert [e["lsn"] for e in found] == sorted({e["lsn"] for e in found})
    assert entries(server, limit=1) == entries(server, limit=3) == entries(server)
    everything = entries(server)
    server.stop()
    server.start()
    assert entries(server) == everything


def test_admin_only(server):
    reader = server.post("/tokens", {"name": "reader", "scopes": ["results:read"]}).json
    assert server.request("GET", "/audit", token=reader["token"]).status == 403
    assert server.request("GET", "/audit", token=None).status == 401
    assert server.get("/audit?limit=0").status == 422
