"""MQTT 5, read with paho. PLACE is a topic, and all below it.

    read_mqtt.py watch|mark PORT USER PASSWORD PLACE 0

`watch` prints an empty line when it has subscribed for the first time, and then a message a line, as long as it runs and
whatever becomes of the broker meanwhile: nobody keeps messages for those who come later. `mark` sends a message for which
it prints an empty line.
"""

import sys

from common import password, place, port, tell, user, verb

import paho.mqtt.client as mqtt

mark = f"{place}/mark"
subscribed = False


def on_connect(client, _userdata, _flags, reason, _properties):
    if not reason.is_failure:
        client.subscribe(f"{place}/#", qos=1)


def on_subscribe(*_):
    global subscribed
    if not subscribed:
        subscribed = True
        print(flush=True)


def on_message(_client, _userdata, message):
    if message.topic == mark:
        print(flush=True)
        return
    headers = dict(message.properties.UserProperty)
    tell(
        headers["webhook-id"],
        message.payload,
        topic=message.topic,
        headers=headers,
        content_type=getattr(message.properties, "ContentType", None),
        qos=message.qos,
    )
    sys.stdout.flush()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.username_pw_set(user, password)
client.connect("127.0.0.1", port)
if verb == "mark":
    client.loop_start()
    client.publish(mark, qos=1).wait_for_publish(30)
else:
    client.reconnect_delay_set(1, 1)
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.loop_forever()
