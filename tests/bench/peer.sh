#!/bin/sh
# Started by the comparison: peer.sh MODBUS_PORT MQTT_PORT UNITS REGISTERS INTERVAL_S FOLDER
# Writes the site once and becomes the daemon. The device counts in the first two registers of each hundred, so no request covers
# more than one hundred.
root=$(cd "$(dirname "$0")/../.." && pwd)
site=$6/site.yaml
[ -e "$site" ] || awk -v modbus="$1" -v mqtt="$2" -v units="$3" -v registers="$4" -v seconds="$5" 'BEGIN {
    ms = seconds * 1000
    durable = ms / 2 < 10 ? 10 : ms / 2 > 100 ? 100 : ms / 2
    printf "device: {id: bench}\njournal: {durable_within: %dms, block: 500ms}\n", durable
    printf "forward: {url: \"mqtt://127.0.0.1:%d\", format: frames}\ndrivers:\n  plc:\n    driver: modbus\n", mqtt
    printf "    url: tcp://127.0.0.1:%d\n    every: %dms\n    max_registers: 100\n    in_flight: 8\n    units:\n", modbus, ms
    for (unit = 1; unit <= units; unit++) {
        printf "      u%d:\n        unit: %d\n        tags:\n", unit, unit
        for (register = 0; register < registers; register++)
            printf "          r%d: {address: \"holding:%d\"}\n", register, register
    }
}' > "$site"
PYTHONPATH=$root exec "$root/.venv/bin/python" -m edge.cli run "$site" --state "$6/state"
