"""False alarms and delays of drift detection on real sentences: ``make drift``."""
