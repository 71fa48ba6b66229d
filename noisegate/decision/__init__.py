"""What the back-test replays and the gate does: one definition, used by both. Pure: no I/O, no clock."""
