"""Systems beyond the wall: what they send and what they are told."""
