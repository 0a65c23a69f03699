"""Has traffic changed since a version was made: statistics, limits, reference profile, monitor."""
