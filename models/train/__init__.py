"""Making models. Never runs on a device."""
