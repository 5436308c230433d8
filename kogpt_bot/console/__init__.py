"""The operator's side: health, metrics, a page, and a socket for `kogpt-bot status` and `tail`."""
