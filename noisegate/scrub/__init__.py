"""Personal data and secrets out of operational text, before anything is written."""

from noisegate.scrub.engine import Finding, Scrubber
from noisegate.scrub.policy import DEFAULT_POLICY, Entity, Policy, Treatment
from noisegate.scrub.rules import VERSION

__all__ = ["DEFAULT_POLICY", "VERSION", "Entity", "Finding", "Policy", "Scrubber", "Treatment"]
