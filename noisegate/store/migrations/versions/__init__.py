"""One file per step; each runs inside the transaction that `upgrade` opens."""
