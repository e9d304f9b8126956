"""The same through segment-analytics-python.

    python segment_python.py URL WRITE_KEY < messages > errors
"""
import json
import sys

from segment.analytics import Client

errors = []
client = Client(sys.argv[2], host=sys.argv[1], on_error=lambda error, items: errors.append(str(error)), upload_size=5, gzip=True)
names = {"userId": "user_id", "anonymousId": "anonymous_id", "messageId": "message_id", "previousId": "previous_id",
         "groupId": "group_id"}
for call, message in json.load(sys.stdin):
    message.pop("timestamp", None)  # the SDK wants a datetime of its own kind, and puts the time itself
    getattr(client, call)(**{names.get(name, name): value for name, value in message.items()})
client.flush()
client.join()
print(json.dumps(errors))
