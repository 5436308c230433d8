"""A message is taken in, answered in its channel's turn, and the answer shown exactly once."""
