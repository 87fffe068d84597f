"""Verifies deliveries with the official Python library of Standard Webhooks.

Each line in is {"secret", "id", "timestamp", "signature", "body"}; each line out is true or false, or a text that says
what else went wrong.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def verdict(question):
    headers = {
        "webhook-id": question["id"],
        "webhook-timestamp": question["timestamp"],
        "webhook-signature": question["signature"],
    }
    try:
        Webhook(question["secret"]).verify(question["body"], headers)
        return True
    except WebhookVerificationError as error:
        return False if "No matching signature" in str(error) else str(error)


for line in sys.stdin.buffer:
    print(json.dumps(verdict(json.loads(line))))
