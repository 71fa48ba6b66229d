"""What the back-test replays and the gate does: one definition. Pure: no I/O, no clock."""
