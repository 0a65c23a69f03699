"""Is traffic still what a version was made for: drift statistics, profile, monitor."""

from tutorial_utils.drift.monitor import Monitor
from tutorial_utils.drift.profile import Profile

__all__ = ["Monitor", "Profile"]
