"""The fault cases of a site: told after an alarm, looked for, filled."""
