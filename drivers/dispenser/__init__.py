"""A simulated dispenser, to try on it what sets a process."""
