"""GET /openapi.json and /docs: everything in the table of routes and nothing else, and what they say is so."""
import re

from conftest import ROOT

VERBS = ("get", "post", "put", "patch", "delete")


def described(server):
    answer = server.request("GET", "/openapi.json", token=None)
    assert answer.status == 200, answer
    return answer.json


def table():
    """The rows of the table itself."""
    source = (ROOT / "api" / "routes.c").read_text()
    rows = re.findall(r'\{HTTP_(\w+), "([^"]+)", (\w+), (true|false)', source)
    assert len(rows) > 30
    return {(path, verb.lower()): (scope, public == "true") for verb, path, scope, public in rows}


def operations(document):
    return {(path, verb): item[verb] for path, item in document["paths"].items() for verb in item if verb in VERBS}


def test_all_routes_and_no_others(server):
    assert operations(described(server)).keys() == table().keys(), "a row of api/routes.c is not described"


def test_shape(server):
    """OpenAPI 3.1: what every reader of it relies on."""
    document = described(server)
    assert document["openapi"] == "3.1.0" and document["info"]["title"] and document["info"]["version"]
    names = set()
    for (path, verb), operation in operations(document).items():
        assert operation["summary"] and operation["tags"] and "default" in operation["responses"]
        assert operation["operationId"] not in names, "operation ids are unique"
        names.add(operation["operationId"])
        in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)
        assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")
        assert ("requestBody" in operation) == (verb in ("post", "put", "patch"))
        for requirement in operation["security"]:
            assert requirement.keys() <= document["components"]["securitySchemes"].keys()


def test_scopes(server):
    """Public where the table says so, else with the scope that a token needs."""
    for key, operation in operations(described(server)).items():
        scope, public = table()[key]
        assert (operation["security"] == []) == public
        for requirement in operation["security"]:
            (scopes,) = requirement.values()
            assert [s.upper().replace(":", "_") for s in scopes] == [scope.removeprefix("SCOPE_")]


def test_query_parameters_are_known(server):
    """No parameter is described that the server does not know."""
    made = server.make_experiment("Described")
    for (path, verb), operation in operations(described(server)).items():
        names = [p["name"] for p in operation["parameters"] if p["in"] == "query"]
        place = path.replace("{id}", made["id"]).replace("{user_id}", "u").replace("{name}", "revenue")
        for name in names if not path.endswith("/stream") else ():  # those answers have no end
            answer = server.request(verb.upper(), f"{place}?{name}=~", [] if verb == "post" else None)
            assert b"unknown_parameter" not in answer.body, (path, name, answer)


def test_page(server):
    """Every route is on it; it loads nothing, and is told that it must not."""
    answer = server.request("GET", "/docs", token=None)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = answer.body.decode()
    assert page.count("<article>") == len(table())
    for path, _verb in table():
        assert f"<code>{path}</code>" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
