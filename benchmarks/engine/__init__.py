"""The engine beside its peers: the same work, one thread each, turn by turn."""
