"""Running it: logs, checks of the machine, and what the service manager wants to know."""
