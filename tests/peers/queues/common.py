"""What the readers of all brokers share.

    read_KIND.py prepare|read PORT USER PASSWORD PLACE WANTED

`prepare` makes the place. `read` prints a line of JSON for each message, {"id", "body" (hex), ...}, until it has WANTED
ids and then nothing new comes for a while, or until nothing came for a long while.
"""

import json
import sys
import time

verb, port, user, password, place = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
wanted = int(sys.argv[6])

# Seconds without a message after which reading ends: once all are there, and at all.
ENOUGH, ALL = 0.5, 40

seen = set()
last = time.monotonic()


def tell(id, body, **more):
    global last
    last = time.monotonic()
    seen.add(id)
    print(json.dumps({"id": id, "body": body.hex(), **more}))


def done():
    return time.monotonic() - last > (ENOUGH if len(seen) >= wanted else ALL)
