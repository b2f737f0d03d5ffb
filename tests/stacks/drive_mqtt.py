"""MQTT with paho-mqtt against mosquitto: all qualities of service, and a payload of several segments. `drive ADDRESS`."""

import os
import queue
import threading

import paho.mqtt.client as mqtt
from board import Board, roles

PORT = 1883
WAIT = 3


def serve():
    raise SystemExit("the broker is mosquitto")


def drive(address):
    board = Board()
    arrived = queue.Queue()
    connected, subscribed, unsubscribed, closed = (threading.Event() for _ in range(4))
    ended = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"press-{os.getpid()}")
    client.connect_timeout = 2
    client.on_connect = lambda *_: connected.set()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_unsubscribe = lambda *_: unsubscribed.set()
    client.on_disconnect = lambda _client, _data, _flags, reason, _more: (ended.append(reason), closed.set())
    client.on_message = lambda _client, _data, message: arrived.put(message.payload)

    def connect():
        client.connect(address, PORT, keepalive=20)
        client.loop_start()
        return connected.wait(WAIT)

    def publish(quality, payload):
        message = client.publish("plant/press-1/temperature", payload, qos=quality)
        message.wait_for_publish(WAIT)
        return message.is_published() and arrived.get(timeout=WAIT) == payload

    def disconnect():
        # Its return value is no answer: paho says "no connection" when its own thread was quick to close it.
        client.disconnect()
        return closed.wait(WAIT) and not ended[0].is_failure

    board.need("CONNECT", connect)
    board.op("SUBSCRIBE", lambda: client.subscribe("plant/+/temperature", 2)[0] == 0 and subscribed.wait(WAIT))
    for quality in (0, 1, 2):
        board.op(f"PUBLISH and delivery, QoS {quality}", lambda: publish(quality, b"21.5"))
    board.op("PUBLISH of several segments, QoS 1", lambda: publish(1, b"x" * 6000))
    board.op("UNSUBSCRIBE", lambda: client.unsubscribe("plant/+/temperature")[0] == 0 and unsubscribed.wait(WAIT))
    board.op("one session all the time", lambda: list(ended), lambda reasons: reasons == [])
    board.op("DISCONNECT", disconnect)
    client.loop_stop()
    board.end()


roles(serve, drive)
