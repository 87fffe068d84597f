"""Consumes from a queue with Alibaba's official Python SDK for SMQ, as it is published.

Each line in is {"do", "url", "id", "secret", "queue", ...}; each line out tells what the SDK saw. `manners` tries every
operation once; `consume` receives and deletes "count" messages, and leaves the first ones until they come again.
"""

import base64
import json
import sys
import time

from mns.account import Account
from mns.mns_exception import MNSExceptionBase
from mns.queue import Message, QueueMeta


def opened(question, **other):
    values = {**question, **other}
    account = Account(values["url"], values["id"], values["secret"])
    return account, account.get_queue(values["queue"])


def fault(call):
    """The type of the exception that a call ends with."""
    try:
        call()
        return None
    except MNSExceptionBase as error:
        return error.type


def ids(messages):
    return [message.user_properties["webhook-id"].get_string_value_by_type() for message in messages]


def seen(message):
    # The SDK decodes base64 by itself, and gives the body as bytes.
    body = message.message_body if isinstance(message.message_body, bytes) else message.message_body.encode()
    return {
        "id": ids([message])[0],
        "body": base64.b64encode(body).decode(),
        "count": message.dequeue_count,
        "message_id": message.message_id,
        "md5": message.message_body_md5,
    }


def manners(question):
    account, queue = opened(question)
    told = {"created": [204, queue.create(QueueMeta())]}
    told["made"] = fault(lambda: opened(question, queue="new")[1].create(QueueMeta()))
    meta = queue.get_attributes()
    told["attributes"] = [meta.queue_name, meta.visibility_timeout, meta.active_messages, meta.inactive_messages]
    told["listed"] = account.list_queue()[0]
    told["same"] = fault(lambda: queue.set_attributes(QueueMeta(vis_timeout=meta.visibility_timeout)))
    told["other"] = fault(lambda: queue.set_attributes(QueueMeta(vis_timeout=meta.visibility_timeout + 1)))
    told["deleted_queue"] = fault(queue.delete)
    told["empty"] = fault(queue.receive_message)
    told["sent"] = queue.send_message(Message("caf\u00e9 <&>")).message_id
    told["batch"] = len(queue.batch_send_message([Message("one"), Message("two")]))
    told["peeked"] = [seen(message) for message in [queue.peek_message(), *queue.batch_peek_message(16)]]
    first = queue.receive_message(1)
    told["first"] = seen(first)
    changed = queue.change_message_visibility(first.receipt_handle, 3600)
    told["extended"] = int(changed.next_visible_time) > int(first.next_visible_time)
    told["rest"] = [seen(message) for message in queue.batch_receive_message(16)]
    queue.delete_message(changed.receipt_handle)
    told["again"] = fault(lambda: queue.delete_message(changed.receipt_handle))
    told["no_handle"] = fault(lambda: queue.delete_message("nonsense"))
    told["no_handles"] = fault(lambda: queue.batch_delete_message(["nonsense", changed.receipt_handle]))
    told["unknown"] = fault(lambda: opened(question, queue="nothing")[1].receive_message())
    told["foreign"] = fault(lambda: opened(question, queue=question["foreign"])[1].receive_message())
    told["wrong_secret"] = fault(lambda: opened(question, secret="wrong")[1].receive_message())
    told["wrong_id"] = fault(lambda: opened(question, id="nobody")[1].receive_message())
    return told


def consume(question):
    _, queue = opened(question)
    messages, left, gaps, stale = {}, {}, [], set()
    since = time.monotonic()
    for message in queue.batch_receive_message(16, 5):
        left[message.message_id] = message.receipt_handle
    while len(messages) < question["count"]:
        try:
            batch = queue.batch_receive_message(16, 10)
        except MNSExceptionBase as error:
            return {"failed": f"after {len(messages)} messages: {error}"}
        now = time.monotonic()
        for message in batch:
            if message.message_id in left:
                handle = left.pop(message.message_id)
                gaps.append(now - since)
                stale.add(fault(lambda handle=handle: queue.delete_message(handle)))
            if message.message_id in messages:
                return {"failed": f"received again after it was deleted: {message.message_id}"}
            messages[message.message_id] = seen(message)
        queue.batch_delete_message([message.receipt_handle for message in batch])
    return {
        "messages": list(messages.values()),
        "left": len(left),
        "gaps": sorted(gaps),
        "stale": sorted(stale),
        "empty": fault(queue.receive_message),
    }


for line in sys.stdin.buffer:
    question = json.loads(line)
    print(json.dumps({"manners": manners, "consume": consume}[question["do"]](question)))
