"""A message becomes a prompt, and the model's text a reply. Pure modules: no IO, no clock."""
