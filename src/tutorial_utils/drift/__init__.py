"""Has traffic changed since a version was made: drift statistics, profile, monitor."""
