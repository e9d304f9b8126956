"""Shows a user the variant of an experiment, and counts a purchase.

    checkout.py EXPERIMENT USER          ASSAY_URL, ASSAY_TOKEN: the server, and a token with assign and events:write
"""
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


class Assay:
    def __init__(self, url, token):
        self.url, self.token = url, token

    def call(self, method, path, body=None, timeout=2.0):
        request = urllib.request.Request(self.url + path, method=method, data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def variant(self, experiment, user, attributes, control="control"):
        """Without an answer the user gets the control, and is not part of the experiment."""
        query = urllib.parse.urlencode(attributes)
        try:
            answer = self.call("GET", f"/experiments/{experiment}/assignment/{urllib.parse.quote(user, safe='')}?{query}")
        except OSError:
            return control
        return answer["variant"] or control

    def send(self, event, patience=20.0):
        """Again and again until it is acknowledged: its id makes it count once."""
        end, pause = time.monotonic() + patience, 0.1
        while True:
            try:
                return self.call("POST", "/events", event)
            except urllib.error.HTTPError as fault:
                if fault.code < 500 and fault.code != 429:
                    raise  # a mistake in this program: sending it again would not help
                pause = max(pause, float(fault.headers.get("Retry-After", 0)))
            except OSError:
                pass
            if time.monotonic() + pause > end:
                raise TimeoutError(f"not acknowledged within {patience} s; keep it, and send it later")
            time.sleep(pause)
            pause *= 2


def main(experiment, user):
    assay = Assay(os.environ["ASSAY_URL"], os.environ["ASSAY_TOKEN"])
    print(f"{user} sees {assay.variant(experiment, user, {'country': 'US'})}")
    answer = assay.send({"event_id": f"order-{user}-1", "user_id": user, "event_type": "purchase",
                         "properties": {"amount": 29.99, "currency": "EUR"}})
    print(f"{answer['accepted']} counted, {answer['duplicates']} known already")


if __name__ == "__main__":
    main(*sys.argv[1:])
