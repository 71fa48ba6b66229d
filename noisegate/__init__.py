"""noisegate: keeps alerts that clear by themselves off the pager, delayed and never dropped."""

__version__ = "0.1.0"
