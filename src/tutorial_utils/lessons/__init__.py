"""What only the series needs: its pipeline, ledger, claims, exercises, preflight."""
