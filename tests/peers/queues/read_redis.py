"""Redis streams, read with redis-py. PLACE is a stream."""

from common import done, password, place, port, tell, verb

import redis

connection = redis.Redis(host="127.0.0.1", port=port, password=password)
if verb == "read":
    after = "0"
    while not done():
        for _, entries in connection.xread({place: after}, count=500, block=500):
            for after, fields in entries:
                text = {name.decode(): value.decode() for name, value in fields.items() if name != b"data"}
                tell(text.pop("id"), fields[b"data"], headers=text)
