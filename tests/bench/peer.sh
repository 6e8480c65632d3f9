#!/bin/sh
# Started by the comparison: peer.sh MODBUS_PORT MQTT_PORT UNITS REGISTERS INTERVAL_S FOLDER
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH=$root exec "$root/.venv/bin/python" -m tests.bench.peer "$@"
