"""Asks flags through OpenFeature's Python SDK and its OFREP provider.

    python openfeature_python.py URL TOKEN < questions > answers

A question is {"type", "key", "default", "context"}, an answer the SDK's evaluation details; both in JSON lists.
"""
import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def main():
    url, token = sys.argv[1:]
    api.set_provider(OFREPProvider(url, headers_factory=lambda: {"Authorization": f"Bearer {token}"}))
    client = api.get_client()
    ask = {"boolean": client.get_boolean_details, "string": client.get_string_details, "integer": client.get_integer_details,
           "float": client.get_float_details, "object": client.get_object_details}
    answers = []
    for question in json.load(sys.stdin):
        attributes = dict(question["context"])
        context = EvaluationContext(attributes.pop("targetingKey", None), attributes)
        details = ask[question["type"]](question["key"], question["default"], context)
        answers.append({"value": details.value, "variant": details.variant, "reason": details.reason,
                        "errorCode": details.error_code, "errorMessage": details.error_message})
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
