"""What others publish on an MQTT broker: plain JSON, and Sparkplug B."""
